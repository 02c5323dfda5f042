"""docker-compose.yml: read by a real Compose parser, its promises checked, its own commands started natively."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from compose_spec import PyCompose, Service, parse_duration
from redis.asyncio import Redis

from engines.launch_flags import COMMON_FLAGS, free_ports

ROOT = Path(__file__).parents[2]
START_S = 30.0
Words = list[str]


@pytest.fixture(scope="module")
def compose() -> PyCompose:
    compose = PyCompose.from_yaml((ROOT / "docker-compose.yml").read_text())
    compose.to_spec()
    return compose


@pytest.fixture(scope="module")
def services(compose: PyCompose) -> dict[str, Service]:
    assert compose.services is not None
    return compose.services


def _words(command: object) -> Words:
    assert isinstance(command, list)
    return [str(word) for word in command]


def _check(service: Service) -> Words:
    assert service.healthcheck is not None
    words = _words(service.healthcheck.test)
    assert words[0] == "CMD"
    return words[1:]


def _workers(services: dict[str, Service], profile: str) -> dict[str, Service]:
    return {name: service for name, service in services.items() if profile in (service.profiles or ())}


def _replaced(words: Sequence[str], replacements: dict[str, str]) -> Words:
    """The same command elsewhere: every part of a word that a replacement names must occur somewhere."""
    text = "\n".join(words)
    for old, new in replacements.items():
        assert old in text, f"{old} is not part of {words}"
        text = text.replace(old, new)
    return text.split("\n")


def test_every_service_restarts_and_is_checked(services):
    for name, service in services.items():
        assert service.restart == "unless-stopped", name
        check = service.healthcheck
        assert check is not None, name
        assert parse_duration(str(check.timeout)) <= parse_duration(str(check.interval)), name
        assert int(check.retries) >= 1, name


def test_only_the_gateway_publishes_a_port_and_on_loopback(services):
    published = {name: service.ports for name, service in services.items() if service.ports}
    assert published == {"gateway": {"127.0.0.1:8080:8080"}}


def test_each_profile_gives_two_workers_that_the_gateway_knows(services):
    known = {word.removeprefix("--worker=") for word in _words(services["gateway"].command) if "--worker=" in word}
    for profile in ("gpu", "cpu"):
        workers = _workers(services, profile)
        names = {alias for worker in workers.values() for alias in worker.networks["default"].aliases}
        assert {f"http://{name}:8000" for name in names} == known
        assert len(workers) == 2
    assert _workers(services, "gpu").keys() | _workers(services, "cpu").keys() | {"redis", "gateway"} == set(
        services
    )


def test_gpu_workers_reserve_different_devices(services):
    reserved = [
        device.device_ids
        for worker in _workers(services, "gpu").values()
        for device in worker.deploy.resources.reservations.devices
    ]
    assert reserved == [{"0"}, {"1"}]


def test_what_must_survive_lies_in_named_volumes(compose, services):
    named = set(compose.volumes or ())
    mounted = {str(volume).partition(":")[0] for service in services.values() for volume in service.volumes or ()}
    assert mounted == named
    assert any(str(volume).endswith(":/data") for volume in services["redis"].volumes)


def test_the_gateway_waits_for_a_healthy_redis_and_has_time_to_drain(services):
    gateway = services["gateway"]
    assert gateway.depends_on["redis"].condition == "service_healthy"
    from gateway.settings import Timeouts

    assert parse_duration(str(gateway.stop_grace_period)) > Timeouts().drain_s


def test_images_are_built_from_stages_that_exist(services):
    stages = [
        line.split()[-1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("FROM ")
    ]
    targets = {service.build.target for service in services.values() if service.build is not None}
    assert targets == {"gateway", "cpu-worker"}
    assert targets < set(stages)
    assert stages[-1] == "gateway"


def test_the_image_copies_what_the_distribution_needs():
    import tomllib

    copied = {
        line.split()[1] for line in (ROOT / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert packages <= copied
    assert copied | {"LICENSE", "README.md"} <= allowed | {"pyproject.toml"}
    assert all((ROOT / path).exists() for path in copied | allowed)


async def test_the_redis_command_is_durable_and_healthy(services, tmp_path):
    (port,) = free_ports(1)
    redis = services["redis"]
    command = [*_words(redis.command), "--port", str(port), "--dir", str(tmp_path)]
    program, *arguments = _check(redis)
    check = [program, "-p", str(port), *arguments]
    async with running(command):
        await until(lambda: _passes(check))
        async with Redis(port=port, socket_timeout=2) as client:
            shown = await client.config_get("append*", "maxmemory-policy")
        assert {key: shown[key] for key in ("appendonly", "appendfsync", "maxmemory-policy")} == {
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
        }


async def test_the_gateway_command_serves_and_passes_its_own_check(services, tmp_path):
    port, admin_port, redis_port, first, second = free_ports(5)
    gateway = services["gateway"]
    command = _replaced(
        _words(gateway.command),
        {
            "--port=8080": f"--port={port}",
            "redis://redis:6379": f"redis://127.0.0.1:{redis_port}",
            "http://worker-0:8000": f"http://127.0.0.1:{first}",
            "http://worker-1:8000": f"http://127.0.0.1:{second}",
        },
    )
    redis = [*_words(services["redis"].command), "--port", str(redis_port), "--dir", str(tmp_path)]
    simulated = [sys.executable, "-m", "engines.simulated", "--port"]
    admin = {"LOOMGATE_SERVER__ADMIN_LISTEN": f"127.0.0.1:{admin_port}"}
    here = {"127.0.0.1:8080": f"127.0.0.1:{port}"}
    async with (
        running(redis),
        running([*simulated, str(first)]),
        running([*simulated, str(second)]),
        running([sys.executable, "-m", "gateway.cli", *command], admin),
    ):
        await until(lambda: _passes(_replaced(_check(gateway), here)))
        await until(lambda: _answers(port, "/ready"))


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
async def test_a_workers_check_passes_on_a_worker(services, profile):
    (port,) = free_ports(1)
    (check, _) = [_check(worker) for worker in _workers(services, profile).values()]
    async with running([sys.executable, "-m", "engines.simulated", "--port", str(port)]):
        await until(lambda: _passes(_replaced(check, {"127.0.0.1:8000": f"127.0.0.1:{port}"})))


def test_the_cpu_command_is_one_that_loomgate_takes(services):
    from gateway.cli import _parser

    for worker in _workers(services, "cpu").values():
        words = _words(worker.command)
        args = _parser("worker").parse_args(words)
        assert (args.port, args.device) == (8000, "cpu")
        assert args.more == ["--host=0.0.0.0"]


VLLM_PARSES = """
import json, sys
from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser

parser = FlexibleArgumentParser()
ServeSubcommand().subparser_init(parser.add_subparsers(dest="subparser"))
args = parser.parse_args(["serve", *json.loads(sys.argv[1])])
print(json.dumps([args.model_tag, args.port, args.scheduling_policy, args.enable_prompt_tokens_details]))
"""


@pytest.mark.real
def test_vllms_own_parser_takes_the_gpu_command(services):
    first, second = (_words(worker.command) for worker in _workers(services, "gpu").values())
    assert first == second
    words = [word.replace("${MODEL:-", "").rstrip("}") for word in first]
    command = [sys.executable, "-c", VLLM_PARSES, json.dumps(words)]
    parsed = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert parsed.returncode == 0, parsed.stderr[-2000:]
    assert json.loads(parsed.stdout.splitlines()[-1]) == ["Qwen/Qwen3-0.6B", 8000, "priority", True]


def test_the_gpu_command_has_the_flags_that_local_workers_have(services):
    wanted = set(COMMON_FLAGS) - {"--disable-uvicorn-access-log"}
    for worker in _workers(services, "gpu").values():
        assert wanted <= set(_words(worker.command))


@asynccontextmanager
async def running(command: Sequence[str], env: dict[str, str] | None = None) -> AsyncIterator[None]:
    """A process that lives as long as the block; it must not have ended by itself."""
    child = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        yield
        assert child.returncode is None, command
    finally:
        if child.returncode is None:
            child.terminate()
        try:
            await asyncio.wait_for(child.wait(), 10)
        except TimeoutError:
            child.kill()
            await child.wait()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(START_S):
        while not await holds():
            await asyncio.sleep(0.1)


async def _passes(check: Sequence[str]) -> bool:
    """Whether a health check's own command succeeds here."""
    program = sys.executable if check[0].startswith("python") else check[0]
    child = await asyncio.create_subprocess_exec(
        program, *check[1:], stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    return await child.wait() == 0


async def _answers(port: int, path: str) -> bool:
    import httpx

    async with httpx.AsyncClient(trust_env=False) as client:
        try:
            return (await client.get(f"http://127.0.0.1:{port}{path}", timeout=2)).status_code == 200
        except httpx.HTTPError:
            return False
