"""`loomgate config`: check the settings, or show the effective ones with their sources."""

from __future__ import annotations

import argparse
import os
from math import inf as INFINITY
from pathlib import Path
from typing import Final

import orjson

from gateway.cli import OK, USAGE, Subparsers, add_help, complain
from gateway.config import SettingsError, config_path, load, masked

_EXAMPLES: Final = """\
  loomgate config check --config loomgate.toml      exit code 2 and the setting's name if something is wrong
  loomgate config show                              every setting, its value and where it comes from"""


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command's flags."""
    parser = add_help(subparsers, "config", examples=_EXAMPLES)
    parser.add_argument("action", choices=("check", "show"))
    parser.add_argument("--config", type=Path, metavar="FILE", help="TOML file (or LOOMGATE_CONFIG)")


def run(args: argparse.Namespace) -> int:
    """Load the settings as `serve` would."""
    try:
        loaded = load(config_path(args.config, os.environ), os.environ)
    except SettingsError as error:
        complain(str(error))
        return USAGE
    if args.action == "check":
        print("ok")
        return OK
    for section, values in masked(loaded.settings).items():
        if isinstance(values, dict):
            for key, value in values.items():
                name = f"{section}.{key}"
                print(_line(name, value, loaded.sources.get(name, "default")))
        else:
            print(_line(section, values, loaded.sources.get(section, "default")))
    return OK


def _line(name: str, value: object, source: str) -> str:
    said = "inf" if value == INFINITY else orjson.dumps(value).decode()
    return f"{name} = {said}  # {source}"
