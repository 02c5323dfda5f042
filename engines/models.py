"""The model a local worker serves: which one, and where its folder is.

The default is SmolLM2-135M-Instruct (Apache-2.0), made once from a package that carries it as a GGUF file.
A path is used as it is; a hub name is fetched from the hub once. `engines.models_make` does both.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from engines.launch_flags import ServedModel

DEFAULT_MODEL = "SmolLM2-135M-Instruct"
DEFAULT_SERVED_NAME = "smollm2"
COMPLETE = "config.json"
"""Part of every model folder; ours appear under their name only when everything is in them."""


class ModelUnavailable(Exception):
    """The model cannot be had; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """What `MODEL` means: the default, a folder on this machine, or a name on the hub."""

    name: str
    folder: Path
    """Where it is, or will be."""

    @property
    def ready(self) -> bool:
        """Whether it can be served without any download."""
        return (self.folder / COMPLETE).is_file()

    @property
    def served(self) -> ServedModel:
        """The folder with the name clients ask for."""
        short = DEFAULT_SERVED_NAME if self.name == DEFAULT_MODEL else self.name
        return ServedModel(str(self.folder), short)


def choose(model: str | None, models_dir: Path) -> ModelChoice:
    """Read `MODEL`: nothing, the default's name, a folder, or `owner/name` on the hub. Raises: ModelUnavailable."""
    if model is None or model == DEFAULT_MODEL:
        return ModelChoice(DEFAULT_MODEL, models_dir / DEFAULT_MODEL)
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not (folder / COMPLETE).is_file():
            raise ModelUnavailable(f"MODEL={model}: the folder holds no {COMPLETE}, so no model")
        return ModelChoice(folder.resolve().name, folder.resolve())
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelUnavailable(f"MODEL={model}: no such folder, and not a hub name (owner/name)")
    return ModelChoice(model, models_dir / model.replace("/", "--"))


def make_command(choice: ModelChoice) -> tuple[str, ...]:
    """The command that makes the folder, for a process of its own: conversion loads torch."""
    return (sys.executable, "-m", "engines.models_make", choice.name, str(choice.folder))
