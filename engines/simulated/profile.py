"""A worker's profile as a file: what a step costs it, and what it was started with. Written by `loomgate profile`.

JSON with a version; costs in seconds, as `StepCosts` names them, limits as `EngineLimits` does. A limit that is not
there has its default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from engines.simulated.costs import StepCosts
from engines.simulated.limits import EngineLimits

PROFILE_VERSION: Final = 1


class BadProfile(ValueError):
    """A file is not a profile that this version reads."""


class Point(msgspec.Struct, frozen=True):
    """One measurement: what was computed, how long it took, what the fitted costs make of it."""

    kind: str
    """`prefill` or `decode`."""
    sequences: int
    tokens: int
    """Prompt tokens of a prefill; tokens that the sequences attend to in an average step of a decode."""
    measured_s: float
    fitted_s: float


class Profile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was found out about a worker."""

    model: str
    costs: StepCosts
    limits: EngineLimits = EngineLimits()
    request_s: float = 0.0
    """What a request costs beside its steps: the way there and back, parsing, tokenizing."""
    error: float = 0.0
    """The mean of |fitted - measured| / measured over the points."""
    points: tuple[Point, ...] = ()
    engine: str = ""
    """Its version, as it says."""
    version: int = PROFILE_VERSION


def read(path: Path) -> Profile:
    """The profile in a file. Raises: BadProfile, OSError."""
    try:
        profile = msgspec.json.decode(path.read_bytes(), type=Profile)
    except msgspec.MsgspecError as error:
        raise BadProfile(f"{path} is no profile: {error}") from None
    if profile.version != PROFILE_VERSION:
        raise BadProfile(f"{path} has version {profile.version}, this gateway reads {PROFILE_VERSION}")
    return profile


def write(profile: Profile, path: Path) -> None:
    """Into a file, for people to read too. Raises: OSError."""
    path.write_bytes(msgspec.json.format(msgspec.json.encode(profile), indent=2) + b"\n")
