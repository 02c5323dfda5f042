"""The gateways that ours is compared with: where they are installed, their versions, their command lines.

    python -m loadtest.peers install      # each into a virtual environment of its own, under .venv-peers/
    python -m loadtest.peers list

A peer that is not installed is left out of the table.
"""

import argparse
import importlib.metadata
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from loadtest.mixes import MODEL

PEERS_FOLDER = Path(__file__).resolve().parent.parent / ".venv-peers"

Command = Callable[[Path, int, int, Sequence[str], Path], list[str]]
"""(executable, port, spare port, worker URLs, scratch folder) -> the command line."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One gateway from PyPI; a slow one is measured in one round only, but for longer."""

    name: str
    distribution: str
    requirement: str
    command: Command
    env: Mapping[str, str]
    is_slow: bool = False

    @property
    def venv(self) -> Path:
        """Its virtual environment."""
        return PEERS_FOLDER / self.name

    @property
    def executable(self) -> Path:
        """Its console script."""
        return self.venv / "bin" / self.distribution

    @property
    def version(self) -> str | None:
        """The installed version; None when it is not installed."""
        if not self.executable.exists():
            return None
        paths = [str(path) for path in self.venv.glob("lib/python*/site-packages")]
        found = importlib.metadata.distributions(name=self.distribution, path=paths)
        return next((distribution.version for distribution in found), None)


def _vllm_router(program: Path, port: int, spare_port: int, workers: Sequence[str], _: Path) -> list[str]:
    flags = ["--host", "127.0.0.1", "--port", str(port), "--policy", "cache_aware"]
    flags += ["--prometheus-port", str(spare_port), "--log-level", "error"]
    return [str(program), *flags, "--worker-urls", *workers]


def _smg(program: Path, port: int, spare_port: int, workers: Sequence[str], _: Path) -> list[str]:
    flags = ["--host", "127.0.0.1", "--port", str(port), "--policy", "cache_aware", "--backend", "vllm"]
    flags += ["--prometheus-host", "127.0.0.1", "--prometheus-port", str(spare_port)]
    flags += ["--disable-tokenizer-autoload", "--log-level", "error"]
    return [str(program), "launch", *flags, "--worker-urls", *workers]


def _litellm(program: Path, port: int, _: int, workers: Sequence[str], folder: Path) -> list[str]:
    deployments = "".join(
        f"  - model_name: {MODEL}\n"
        f"    litellm_params: {{model: openai/{MODEL}, api_base: {url}/v1, api_key: none}}\n"
        for url in workers
    )
    config = folder / "litellm.yaml"
    config.write_text(f"model_list:\n{deployments}litellm_settings: {{telemetry: false}}\n")
    return [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]


_OFFLINE = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_TELEMETRY": "False",
    "LITELLM_LOG": "ERROR",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}
PEERS = (
    Peer("vllm-router", "vllm-router", "vllm-router==0.1.17", _vllm_router, {}),
    Peer("smg", "smg", "smg==1.13.0", _smg, {}),
    Peer("litellm", "litellm", "litellm[proxy]==1.106.2", _litellm, _OFFLINE, is_slow=True),
)


def install() -> None:
    """Install every peer, with uv where it is on PATH; raises `CalledProcessError` when one cannot be had."""
    PEERS_FOLDER.mkdir(exist_ok=True)
    (PEERS_FOLDER / ".gitignore").write_text("*\n")
    for peer in PEERS:
        python = str(peer.venv / "bin" / "python")
        if shutil.which("uv"):
            subprocess.run(["uv", "venv", "-q", "--allow-existing", "-p", sys.executable, peer.venv], check=True)
            subprocess.run(["uv", "pip", "install", "-q", "-p", python, peer.requirement], check=True)
        else:
            subprocess.run([sys.executable, "-m", "venv", peer.venv], check=True)
            subprocess.run([python, "-m", "pip", "install", "-q", peer.requirement], check=True)
        print(f"{peer.name} {peer.version}")


def main(argv: Sequence[str] | None = None) -> None:
    """Install the peers, or list what is there."""
    parser = argparse.ArgumentParser(prog="python -m loadtest.peers", description=__doc__)
    parser.add_argument("action", choices=("install", "list"))
    if parser.parse_args(argv).action == "install":
        install()
        return
    for peer in PEERS:
        print(f"{peer.name} {peer.version or 'not installed'}")


if __name__ == "__main__":
    main()
