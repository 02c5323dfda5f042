"""The command line of a local vLLM worker. Pure, but for picking free ports.

The flags are those the gateway gains by (`loomgate doctor` says what each buys); a worker runs without them too.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from engines.cpu_features import dtype_flags


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model folder (or a name vLLM resolves) and the name clients ask for."""

    source: str
    served_name: str


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """Everything needed to start one worker, again and again on the same port."""

    name: str
    argv: tuple[str, ...]
    port: int
    env: tuple[tuple[str, str], ...] = ()
    cpus: tuple[int, ...] = ()
    """The cores it may use; empty for all."""
    kv_events: str | None = None
    """ZMQ endpoint it publishes its KV events on."""

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"


COMMON_FLAGS = (
    "--enable-prefix-caching",
    "--enable-prompt-tokens-details",
    "--scheduling-policy=priority",
    "--disable-uvicorn-access-log",
)
CPU_FLAGS = (
    "--max-model-len=4096",
    "--max-num-seqs=32",
    "--max-num-batched-tokens=512",
    "--enforce-eager",
    "--block-size=32",
)
QUIET_ENV = (("VLLM_NO_USAGE_STATS", "1"), ("DO_NOT_TRACK", "1"), ("HF_HUB_OFFLINE", "1"))


def cpu_workers(
    model: ServedModel,
    count: int,
    cores: Sequence[int],
    ports: Sequence[int],
    sockets: Path,
    *,
    features: frozenset[str] = frozenset(),
) -> list[WorkerSpec]:
    """`count` workers that share `cores` evenly (one core is shared by all), `ports[i]` for worker i.

    `features` are the CPU's, as Linux names them.
    """
    flags = (*CPU_FLAGS, *dtype_flags(features))
    return [
        _worker(
            model,
            index,
            ports[index],
            sockets,
            flags=flags,
            env=(
                ("VLLM_CPU_KVCACHE_SPACE", "1"),
                ("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, share))),
            ),
            cpus=share,
        )
        for index, share in enumerate(share_cores(cores, count))
    ]


def cuda_workers(model: ServedModel, gpus: Sequence[str], ports: Sequence[int], sockets: Path) -> list[WorkerSpec]:
    """One worker per GPU; `gpus` are CUDA device names as `CUDA_VISIBLE_DEVICES` takes them."""
    return [
        _worker(model, index, ports[index], sockets, env=(("CUDA_VISIBLE_DEVICES", gpu),))
        for index, gpu in enumerate(gpus)
    ]


def _worker(
    model: ServedModel,
    index: int,
    port: int,
    sockets: Path,
    *,
    flags: tuple[str, ...] = (),
    env: tuple[tuple[str, str], ...] = (),
    cpus: tuple[int, ...] = (),
) -> WorkerSpec:
    events, replay = f"ipc://{sockets}/kv{index}", f"ipc://{sockets}/replay{index}"
    return WorkerSpec(
        name=f"w{index}",
        argv=(*vllm_argv(model, port), *flags, f"--kv-events-config={kv_events_config(events, replay)}"),
        port=port,
        env=(*QUIET_ENV, *env),
        cpus=cpus,
        kv_events=events,
    )


def vllm_argv(model: ServedModel, port: int) -> tuple[str, ...]:
    """The command of a worker on loopback with the flags every device takes.

    The module is started, not the `vllm` command: that one fails where the distribution is called `vllm-cpu`.
    """
    return (
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *(f"--model={model.source}", f"--served-model-name={model.served_name}"),
        *("--host=127.0.0.1", f"--port={port}"),
        *COMMON_FLAGS,
    )


def kv_events_config(events: str, replay: str) -> str:
    """The value of `--kv-events-config`: publish stored and removed blocks on `events`."""
    config = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": events,
        "replay_endpoint": replay,
        "topic": "kv",
    }
    return json.dumps(config, separators=(",", ":"))


def share_cores(cores: Sequence[int], count: int) -> list[tuple[int, ...]]:
    """Split cores into `count` equal shares, one core of four or more left to the gateway.

    With fewer cores than workers, each gets one core in turn.
    """
    usable = list(cores[:-1]) if len(cores) >= 4 else list(cores)
    each = max(1, len(usable) // count)
    return [
        tuple(usable[(index * each + offset) % len(usable)] for offset in range(each)) for index in range(count)
    ]


def free_ports(count: int) -> list[int]:
    """Distinct loopback ports that are free just now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
