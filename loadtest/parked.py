"""What waiting calls cost: memory per parked call, and a fan-out of one large value to many of them.

    python -m loadtest.parked [--calls 10000] [--consumers 1000] [--value-kb 100] [--sessions 1]

One gateway in front of mock workers, on a real Redis. First `--calls` calls park, as many as the tenant may, and
one more is refused; then their values are produced by calls through the same gateway, and every one of them must be
answered. Then `--consumers` calls wait for one value of `--value-kb`, which a PUT gives them. The first call
that is answered otherwise than it should be ends the run, with its status and body.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from engines.launch_flags import free_ports
from loadtest.backends import start_mock, start_redis
from loadtest.burst import Burst, CallRefused, allow_connections, exchange
from loadtest.children import ChildError, Family, answers
from loadtest.mixes import CHAT_PATH, MODEL
from loadtest.procfs import PeakRss, tree_rss_bytes
from loadtest.provenance import headline, provenance
from loadtest.stopping import stop_by_signal
from loadtest.table import markdown

TARGET_BYTES = 20_000
STORE_DEADLINE_MS = 2_000
"""Load, gateway, worker and store share this machine's cores: a reply of the store's may wait its turn."""
NAMES = 100
"""Variables that a session's calls wait for."""
_READY_S = 60.0
_POLL_S = 0.2
_PROGRESS_S = 2.0
_TOO_MANY = 429
_PARKED = re.compile(r"^loomgate_parked_calls (\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Options:
    """The command line."""

    calls: int
    consumers: int
    value_bytes: int
    sessions: int
    limit_s: float


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
        return int(float(found[1])) if found else 0


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print the table; not 0 when a call was lost, or it took too long."""
    options = read_options(argv)
    stop_by_signal()
    facts = provenance(0, {name: getattr(options, name) for name in Options.__slots__}, {})
    rows: list[list[str]] = []
    status = 1
    try:
        allow_connections(options.calls + options.consumers)
        with _gateway(options) as target:
            asyncio.run(asyncio.wait_for(_measure(target, options, rows), options.limit_s))
        status = 0
    except TimeoutError:
        _progress(f"stopped after {options.limit_s:g} s (--limit-s)")
    except (ChildError, CallRefused, OSError) as error:
        _progress(str(error))
    except KeyboardInterrupt:
        _progress("stopped before the end")
        status = 130
    if rows:
        print(headline(facts) + "\n")
        print(markdown(["what", "figure"], rows))
    return status


def read_options(argv: Sequence[str] | None) -> Options:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.parked", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--consumers", type=int, default=1_000)
    parser.add_argument("--value-kb", type=int, default=100)
    parser.add_argument("--sessions", type=int, default=1, help="that the parked calls are spread over")
    parser.add_argument("--limit-s", type=float, default=170.0, metavar="N", help="stop by itself")
    given = parser.parse_args(argv)
    return Options(given.calls, given.consumers, given.value_kb * 1000, given.sessions, given.limit_s)


@contextlib.contextmanager
def _gateway(options: Options) -> Iterator[Target]:
    with TemporaryDirectory(prefix="loadtest-") as scratch, Family(Path(scratch)) as family:
        port, admin_port, worker_port = free_ports(3)
        start_mock(family, (worker_port,))
        _, store_url = start_redis(family)
        config = family.folder / "gateway.toml"
        config.write_text(
            f'[server]\nlisten = "127.0.0.1:{port}"\nadmin_listen = "127.0.0.1:{admin_port}"\n'
            f'[store]\nurl = "{store_url}"\ndeadline_ms = {STORE_DEADLINE_MS}\n[log]\nlevel = "warning"\n'
            f"[limits]\nparked_per_tenant = {options.calls}\n"
            f"queue_per_tenant = {options.calls + options.consumers}\n"
            f"connections = {options.calls + options.consumers + 200}\n"
            f'[schedule]\nadmit = "class_tokens"\n'  # what is measured waits for values, not for the worker
            f'[[worker]]\nname = "w"\nurl = "http://127.0.0.1:{worker_port}"\n'
        )
        program = Path(sys.executable).with_name("loomgate")
        child = family.start("loomgate", [str(program), "serve", "--config", str(config)])
        child.wait_until(lambda: answers(port, "GET", "/ready"), _READY_S)
        yield Target(child.pid, port, admin_port)


async def _measure(target: Target, options: Options, rows: list[list[str]]) -> None:
    """Append the rows of each part as it ends. Raises: CallRefused."""
    await Burst(target.port, [_call(f"warm-{number}") for number in range(200)]).run()
    rows += await _park(target, options)
    rows += await _fan_out(target, options)


async def _park(target: Target, options: Options) -> list[list[str]]:
    """Park as many calls as may be, refuse one more, then produce what they wait for."""
    names = [(f"run-{number % options.sessions}", f"v{number % NAMES}") for number in range(options.calls)]
    requests = [_call(session, "inputs", name) for session, name in names]
    body_bytes = len(requests[0].partition(b"\r\n\r\n")[2])
    before_bytes = tree_rss_bytes(target.pid)
    waiting = Burst(target.port, requests)
    async with _parked(target, waiting, "calls") as answered:
        per_call = (tree_rss_bytes(target.pid) - before_bytes) / options.calls - body_bytes
        refusal = await exchange(target.port, _call("run-0", "inputs", "v0"))
        produced_s = time.perf_counter()
        producers = [_call(session, "outputs", name) for session, name in dict.fromkeys(names)]
        produced = await Burst(target.port, producers).run()
        await _told(answered, waiting)
        took_s = time.perf_counter() - produced_s
    if refusal.status != _TOO_MANY:
        raise CallRefused(f"one call more than may park was answered {refusal.status}: {refusal.body[:500]!r}")
    verdict = "ok" if per_call <= TARGET_BYTES else "MISSED"
    return [
        [
            f"memory per parked call beyond its body of {body_bytes} B, {options.calls:,} parked",
            f"{per_call:,.0f} B",
        ],
        [f"target {TARGET_BYTES:,} B", verdict],
        ["one call more than may park", str(refusal.status)],
        [
            f"answered once {produced} producers had run, all at the bound",
            f"{waiting.answered:,} of {options.calls:,}",
        ],
        ["from the first producer to the last answer", f"{took_s:.2f} s"],
    ]


async def _fan_out(target: Target, options: Options) -> list[list[str]]:
    """One value for many: what it takes until the last of them is answered."""
    waiting = Burst(target.port, [_call("fan", "inputs", "value") for _ in range(options.consumers)])
    async with _parked(target, waiting, "consumers") as answered:
        before_bytes = tree_rss_bytes(target.pid)
        peak = PeakRss(target.pid)
        began_s = time.perf_counter()
        await asyncio.to_thread(_put, target.port, "fan", "value", options.value_bytes)
        await _told(answered, waiting)
        took_s = time.perf_counter() - began_s
        grown_bytes = peak.read_bytes() - before_bytes
    what = f"{options.consumers:,} consumers of one value of {options.value_bytes // 1000} kB"
    return [
        [f"{what}: answered", f"{waiting.answered:,} of {options.consumers:,}"],
        ["from the PUT to the last answer", f"{took_s:.2f} s"],
        ["peak memory above that while they were parked", f"{grown_bytes / 1e6:.1f} MB"],
        ["their bodies, were they all rendered at once", f"{options.consumers * options.value_bytes / 1e6:.1f} MB"],
    ]


@contextlib.asynccontextmanager
async def _parked(target: Target, waiting: Burst, what: str) -> AsyncIterator[asyncio.Task[int]]:
    """The calls on their way, once all of them wait; given up however the block ends. Raises: CallRefused."""
    task = asyncio.create_task(waiting.run(), name=f"waiting {what}")
    told_s = time.monotonic()
    try:
        while (parked := await asyncio.to_thread(target.parked)) < len(waiting):
            if time.monotonic() - told_s >= _PROGRESS_S:
                told_s = time.monotonic()
                _progress(f"{parked:,} of {len(waiting):,} {what} wait")
            await asyncio.wait((task,), timeout=_POLL_S)
            if task.done():
                raise CallRefused(f"all {task.result()} were answered before their input was there")
        _progress(f"all {len(waiting):,} {what} wait")
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _told(task: asyncio.Task[int], waiting: Burst) -> None:
    """Wait until all are answered, and say how it goes. Raises: CallRefused."""
    while not (await asyncio.wait((task,), timeout=_PROGRESS_S))[0]:
        _progress(f"{waiting.answered:,} of {len(waiting):,} answered")
    task.result()


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


def _progress(line: str) -> None:
    print(f"parked: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
