"""A profile comes back from its file as it was written; what is no profile is told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits
from engines.simulated.profile import BadProfile, Point, Profile, read, write


def test_what_is_written_is_read(tmp_path: Path) -> None:
    points = (Point("decode", 4, 800, 0.02, 0.021),)
    profile = Profile("m", StepCosts(0.1, 0.2, 0.3, 0.4), EngineLimits(kv_blocks=77), 0.001, 0.03, points)
    write(profile, tmp_path / "p.json")
    assert read(tmp_path / "p.json") == profile


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        '{"model": "m", "costs": {"step_s": -1}}',
        '{"model": "m", "costs": {}, "limits": {"kv_blocks": 0}}',
        '{"model": "m", "costs": {}, "version": 99}',
        '{"model": "m", "costs": {}, "cost": 1}',
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "p.json").write_text(text)
    with pytest.raises(BadProfile, match=r"p\.json"):
        read(tmp_path / "p.json")
