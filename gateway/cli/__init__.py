"""The `loomgate` command: one file a subcommand, imported only when it is the one that runs.

Exit codes: 0 done, 1 failed, 2 wrong usage or settings. Results go to stdout, everything else to stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final, TypeAlias

from engines.compiled import load

Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2

COMMANDS: Final = {
    "up": "start workers and a gateway on this machine",
    "serve": "run the gateway in front of workers that exist",
    "worker": "run one engine in the foreground",
    "workers": "list, add, drain or remove the workers of a running gateway",
    "keys": "make API keys",
    "config": "check settings, or show them with where each comes from",
    "doctor": "tell what a worker's flags lack and what each would buy",
    "profile": "measure what a step costs a worker, for the simulator",
    "whatif": "run recorded sessions again with other policies or fewer workers",
}
_EXAMPLES: Final = """\
examples:
  loomgate up                                        two CPU workers and a gateway, ready to try
  loomgate serve --worker http://gpu1:8000 --worker http://gpu2:8000
  loomgate doctor --worker http://gpu1:8000
  loomgate workers list

`loomgate COMMAND --help` shows more. Settings: flags over LOOMGATE_* variables over a TOML file (--config).
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. `argv` is without the program's name."""
    words = list(sys.argv[1:] if argv is None else argv)
    load.activate()
    chosen = words[0] if words and words[0] in COMMANDS else None
    parser = _parser(chosen)
    try:
        args = parser.parse_args(words)
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else USAGE
    if chosen is None:
        parser.print_help()
        return USAGE
    return _run(chosen, args)


def add_help(subparsers: Subparsers, name: str, *, examples: str) -> argparse.ArgumentParser:
    """Add a subcommand's parser, with its examples below the options."""
    return subparsers.add_parser(
        name,
        help=COMMANDS[name],
        description=COMMANDS[name][0].upper() + COMMANDS[name][1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def complain(text: str) -> None:
    """Tell the user what is wrong, on stderr."""
    print(f"loomgate: {text}", file=sys.stderr)


def key_in(variable: str | None) -> str | None:
    """The API key that an environment variable holds, if one is named. Raises: ValueError if that is not set."""
    if not variable:
        return None
    key = os.environ.get(variable)
    if not key:
        raise ValueError(f"{variable} is not set")
    return key


def _parser(chosen: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loomgate",
        description="A program-aware gateway for LLM serving.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and whether it runs compiled")
    subparsers = parser.add_subparsers(metavar="COMMAND")
    for name, text in COMMANDS.items():
        if name == chosen:
            importlib.import_module(f"gateway.cli.{name}").add_parser(subparsers)
        else:
            subparsers.add_parser(name, help=text)
    return parser


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_parsed: object) -> None:
        code = "compiled" if load.is_active() else "plain"
        print(f"loomgate {version('loomgate')}, {code} on Python {'.'.join(map(str, sys.version_info[:3]))}")
        parser.exit()


def _run(chosen: str, args: argparse.Namespace) -> int:
    try:
        status: int = importlib.import_module(f"gateway.cli.{chosen}").run(args)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return status
