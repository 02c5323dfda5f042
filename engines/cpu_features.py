"""In which type a CPU worker computes: bfloat16 where the CPU does so natively, else float32.

Without such instructions every bfloat16 operation is emulated: on an AVX2-only core a 574-token prompt and 40
tokens of answer took 14.9 s in bfloat16 and 4.0 s in float32.
"""

from __future__ import annotations

from pathlib import Path

NATIVE_BFLOAT16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
"""As Linux names it on x86-64 and on arm64."""


def cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """What the first core can do; nothing where that is not told."""
    if not cpuinfo.exists():
        return frozenset()
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return frozenset(value.split())
    return frozenset()


def dtype_flags(features: frozenset[str]) -> tuple[str, ...]:
    """The engine's flag; none where the model's own type is right, or nothing is known."""
    return () if not features or features & NATIVE_BFLOAT16 else ("--dtype=float32",)
