"""What waiting calls cost: memory per parked call, and a fan-out of one large value to many of them.

    python -m loadtest.parked [--calls 10000] [--consumers 1000] [--value-kb 100] [--sessions 1]

One gateway in front of mock workers, on a real Redis. First `--calls` calls park, as many as the tenant may, and
one more is refused; then their values are produced by calls through the same gateway, and every one of them must be
answered. Then `--consumers` calls wait for one value of `--value-kb`, which a PUT gives them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from loadtest.children import ChildError, Family, answers, free_port
from loadtest.generator import read_head
from loadtest.mixes import CHAT_PATH, MODEL
from loadtest.procfs import PeakRss, tree_rss_bytes
from loadtest.provenance import headline, provenance
from loadtest.stage import start_mock, start_redis
from loadtest.table import markdown

TARGET_BYTES = 20_000
_READY_S = 60.0
_DEADLINE_S = 300.0
_OPENED_AT_ONCE = 64
_POLL_S = 0.2
_PARKED = re.compile(r"^loomgate_parked_calls (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    calls: int
    consumers: int
    value_bytes: int
    sessions: int


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway under measurement."""

    pid: int
    port: int
    admin_port: int

    def parked(self) -> int:
        """Calls that wait for variables, by its own metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=10) as page:
            found = _PARKED.search(page.read().decode())
        return int(found[1]) if found else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table; not 0 when a call was lost."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.parked", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--consumers", type=int, default=1_000)
    parser.add_argument("--value-kb", type=int, default=100)
    parser.add_argument("--sessions", type=int, default=1, help="that the parked calls are spread over")
    given = parser.parse_args(argv)
    options = Options(given.calls, given.consumers, given.value_kb * 1000, given.sessions)
    facts = provenance(0, {name: getattr(options, name) for name in Options.__slots__}, {})
    try:
        with _gateway(options) as target:
            rows, lost = asyncio.run(_measure(target, options))
    except (ChildError, OSError) as error:
        print(f"parked: {error}", file=sys.stderr)
        return 1
    print(headline(facts) + "\n")
    print(markdown(["what", "figure"], rows))
    return 1 if lost else 0


@contextlib.contextmanager
def _gateway(options: Options) -> Iterator[Target]:
    with TemporaryDirectory(prefix="loadtest-") as scratch, Family(Path(scratch)) as family:
        port, admin_port, worker_port = free_port(), free_port(), free_port()
        start_mock(family, (worker_port,))
        _, store_url = start_redis(family)
        config = family.folder / "gateway.toml"
        config.write_text(
            f'[server]\nlisten = "127.0.0.1:{port}"\nadmin_listen = "127.0.0.1:{admin_port}"\n'
            f'[store]\nurl = "{store_url}"\n[log]\nlevel = "warning"\n'
            f"[limits]\nparked_per_tenant = {options.calls}\n"
            f"queue_per_tenant = {options.calls + options.consumers}\n"
            f"connections = {2 * options.calls + options.consumers}\n"
            f'[[worker]]\nname = "w"\nurl = "http://127.0.0.1:{worker_port}"\n'
        )
        program = Path(sys.executable).with_name("loomgate")
        child = family.start("loomgate", [str(program), "serve", "--config", str(config)])
        child.wait_until(lambda: answers(port, "GET", "/ready"), _READY_S)
        yield Target(child.pid, port, admin_port)


async def _measure(target: Target, options: Options) -> tuple[list[list[str]], int]:
    await _answered(target, [_call(f"warm-{number}") for number in range(200)])
    rows, lost = await _park(target, options)
    more, also_lost = await _fan_out(target, options)
    return rows + more, lost + also_lost


async def _park(target: Target, options: Options) -> tuple[list[list[str]], int]:
    """Park as many calls as may be, refuse one more, then produce what they wait for."""
    names = [(f"run-{number % options.sessions}", f"v{number % 100}") for number in range(options.calls)]
    requests = [_call(session, "inputs", name) for session, name in names]
    body_bytes = len(requests[0].partition(b"\r\n\r\n")[2])
    before_bytes = tree_rss_bytes(target.pid)
    waiting = asyncio.create_task(_answered(target, requests))
    await _until(lambda: target.parked() == options.calls)
    per_call = (tree_rss_bytes(target.pid) - before_bytes) / options.calls - body_bytes
    refused = not await _answered(target, [_call("run-0", "inputs", "v0")])
    produced_s = time.perf_counter()
    producers = [_call(session, "outputs", name) for session, name in dict.fromkeys(names)]
    produced = await _answered(target, producers)
    answered = await waiting
    took_s = time.perf_counter() - produced_s
    verdict = "ok" if per_call <= TARGET_BYTES else "MISSED"
    rows = [
        [
            f"memory per parked call beyond its body of {body_bytes} B, {options.calls:,} parked",
            f"{per_call:,.0f} B",
        ],
        [f"target {TARGET_BYTES:,} B", verdict],
        ["one call more than may park", "429" if refused else "NOT REFUSED"],
        [f"answered once {produced} producers had run, all at the bound", f"{answered:,} of {options.calls:,}"],
        ["from the first producer to the last answer", f"{took_s:.2f} s"],
    ]
    return rows, options.calls - answered + len(producers) - produced


async def _fan_out(target: Target, options: Options) -> tuple[list[list[str]], int]:
    """One value for many: what it takes until the last of them is answered."""
    requests = [_call("fan", "inputs", "value") for _ in range(options.consumers)]
    waiting = asyncio.create_task(_answered(target, requests))
    await _until(lambda: target.parked() == options.consumers)
    before_bytes = tree_rss_bytes(target.pid)
    peak = PeakRss(target.pid)
    began_s = time.perf_counter()
    await asyncio.to_thread(_put, target.port, "fan", "value", options.value_bytes)
    answered = await waiting
    took_s = time.perf_counter() - began_s
    grown_bytes = peak.read_bytes() - before_bytes
    what = f"{options.consumers:,} consumers of one value of {options.value_bytes // 1000} kB"
    rows = [
        [f"{what}: answered", f"{answered:,} of {options.consumers:,}"],
        ["from the PUT to the last answer", f"{took_s:.2f} s"],
        ["peak memory above that while they were parked", f"{grown_bytes / 1e6:.1f} MB"],
        ["their bodies, were they all rendered at once", f"{options.consumers * options.value_bytes / 1e6:.1f} MB"],
    ]
    return rows, options.consumers - answered


async def _answered(target: Target, requests: Sequence[bytes]) -> int:
    """Send each on a connection of its own, all open until the last is answered; how many got a 2xx."""
    gate = asyncio.Semaphore(_OPENED_AT_ONCE)
    async with asyncio.timeout(_DEADLINE_S):
        return sum(await asyncio.gather(*(_exchange(target.port, request, gate) for request in requests)))


async def _exchange(port: int, request: bytes, gate: asyncio.Semaphore) -> bool:
    async with gate:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
        writer.write(request)
        await writer.drain()
    try:
        is_success, _, length = await read_head(reader)
        await reader.readexactly(length)
    except (OSError, asyncio.IncompleteReadError):
        return False
    finally:
        writer.close()
    return is_success


def _call(session: str, kind: str = "", name: str = "") -> bytes:
    text = f"{{{{{name}}}}}" if kind == "inputs" else "A plan, please."
    hint = f"x-workflow-{kind}: {name}\r\n" if kind else ""
    body = f'{{"model": "{MODEL}", "messages": [{{"role": "user", "content": "{text:<200}"}}]}}'.encode()
    head = f"POST {CHAT_PATH} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{hint}"
    return f"{head}x-workflow-session: {session}\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body


def _put(port: int, session: str, name: str, value_bytes: int) -> None:
    url = f"http://127.0.0.1:{port}/v1/workflow/sessions/{session}/variables/{name}"
    headers = {"content-type": "text/plain"}
    request = urllib.request.Request(url, b"word " * (value_bytes // 5), headers, method="PUT")
    urllib.request.urlopen(request, timeout=30).close()


async def _until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(_DEADLINE_S):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 - another process
            await asyncio.sleep(_POLL_S)


if __name__ == "__main__":
    sys.exit(main())
