"""What a benchmark runs: mock workers, a private Redis, this gateway and its peers, all started and ready."""

import importlib.metadata
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from engines.launch_flags import free_ports
from loadtest.backends import start_mock, start_redis
from loadtest.children import Child, ChildError, Family, answers
from loadtest.mixes import CHAT_PATH, Mix, body_templates
from loadtest.overhead.summary import OURS
from loadtest.peers import PEERS, Peer

_READY_S = 60.0


@dataclass(frozen=True, slots=True)
class System:
    """One running gateway: its listener, its process tree and, for ours, its admin listener and its store."""

    name: str
    version: str
    port: int
    child: Child
    is_slow: bool = False
    admin_port: int | None = None
    store: Child | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """The running systems, and the mock's port for loads without a gateway between."""

    folder: Path
    direct_port: int
    systems: tuple[System, ...]
    absent: tuple[str, ...]
    """Why a peer is missing, a text each."""

    @property
    def ours(self) -> System | None:
        """This gateway; None when `--only` left it out."""
        return next((system for system in self.systems if system.name == OURS), None)


def system_names() -> tuple[str, ...]:
    """Everything that can be measured: this gateway, then the installed peers."""
    return (OURS, *(peer.name for peer in PEERS if peer.version is not None))


@contextmanager
def staged(names: Sequence[str]) -> Iterator[Stage]:
    """Start the named systems on free ports of 127.0.0.1; all is stopped and removed however the block ends.

    A peer that does not answer a chat call in time is left out; raises `ChildError` when ours does not.
    """
    with TemporaryDirectory(prefix="loadtest-") as scratch, Family(Path(scratch)) as family:
        ports = free_ports(2)
        start_mock(family, ports)
        workers = [f"http://127.0.0.1:{port}" for port in ports]
        systems = [_start_gateway(family, workers)] if OURS in names else []
        systems += [_start_peer(family, peer, workers) for peer in PEERS if peer.name in names]
        ready, absent = _await_ready(systems)
        yield Stage(family.folder, ports[0], ready, absent)


def _await_ready(systems: Sequence[System]) -> tuple[tuple[System, ...], tuple[str, ...]]:
    """The systems that answer a chat call, and why the others do not."""
    body = body_templates(Mix(300), seed=0)[0].fill(0)
    ready: list[System] = []
    absent: list[str] = []
    for system in systems:
        try:
            answers_chat = partial(answers, system.port, "POST", CHAT_PATH, body)
            system.child.wait_until(answers_chat, _READY_S)
        except ChildError as error:
            if system.name == OURS:
                raise
            absent.append(str(error))
        else:
            ready.append(system)
    return tuple(ready), tuple(absent)


_CALLS_PER_WORKER = 1024
"""More than any part holds open: the peers admit everything at once, and the mock takes it."""


def _start_gateway(family: Family, workers: Sequence[str]) -> System:
    port, admin_port = free_ports(2)
    store, store_url = start_redis(family)
    config = family.folder / "gateway.toml"
    config.write_text(
        f'[server]\nlisten = "127.0.0.1:{port}"\nadmin_listen = "127.0.0.1:{admin_port}"\n'
        f'[store]\nurl = "{store_url}"\n[log]\nlevel = "warning"\n'
        f'[schedule]\nadmit = "class_tokens"\nmax_calls_per_worker = {_CALLS_PER_WORKER}\n'
        + "".join(f'[[worker]]\nname = "w{i}"\nurl = "{url}"\n' for i, url in enumerate(workers))
    )
    program = Path(sys.executable).with_name("loomgate")
    child = family.start(OURS, [str(program), "serve", "--config", str(config)])
    version = importlib.metadata.version("loomgate")
    return System(OURS, version, port, child, admin_port=admin_port, store=store)


def _start_peer(family: Family, peer: Peer, workers: Sequence[str]) -> System:
    port, spare_port = free_ports(2)
    command = peer.command(peer.executable, port, spare_port, workers, family.folder)
    return System(peer.name, peer.version or "", port, family.start(peer.name, command, peer.env), peer.is_slow)
