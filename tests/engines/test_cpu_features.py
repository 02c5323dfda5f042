from __future__ import annotations

from pathlib import Path

import pytest

from engines.cpu_features import cpu_features, dtype_flags

X86 = "processor\t: 0\nflags\t\t: fpu sse2 avx2{more}\n\nprocessor\t: 1\nflags\t\t: fpu\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd{more}\n"


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (X86.format(more=""), ("--dtype=float32",)),
        (X86.format(more=" avx512f avx512_bf16"), ()),
        (X86.format(more=" amx_bf16"), ()),
        (ARM.format(more=""), ("--dtype=float32",)),
        (ARM.format(more=" bf16"), ()),
        ("processor\t: 0\n", ()),
    ],
)
def test_a_cpu_without_native_bfloat16_computes_in_float32(text, flags, tmp_path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(text)
    assert dtype_flags(cpu_features(cpuinfo)) == flags


def test_where_nothing_is_told_the_models_own_type_stays(tmp_path: Path) -> None:
    assert dtype_flags(cpu_features(tmp_path / "missing")) == ()
