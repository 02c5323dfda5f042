"""`loomgate keys new`: an API key, shown once, and the lines that let it in."""

from __future__ import annotations

import argparse
import re
from typing import Final

from gateway.auth import hash_key, new_key
from gateway.cli import OK, USAGE, Subparsers, add_help, complain

_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}").fullmatch
_EXAMPLES: Final = """\
  loomgate keys new --tenant team-a          add the printed lines to the settings file, then SIGHUP the gateway
  loomgate keys new --admin                  a key for the admin listener
A tenant may have two keys at a time: add the new one, move the clients, remove the old one."""


def add_parser(subparsers: Subparsers) -> None:
    """Declare the command's flags."""
    parser = add_help(subparsers, "keys", examples=_EXAMPLES)
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = actions.add_parser("new", help="make a key; only its hash is ever stored")
    owner = new.add_mutually_exclusive_group(required=True)
    owner.add_argument("--tenant", help="whose key it is: letters, digits, `.`, `_` and `-`")
    owner.add_argument("--admin", action="store_true", help="a key for the admin listener")


def run(args: argparse.Namespace) -> int:
    """Make a key and print it."""
    if args.tenant is not None and _TENANT(args.tenant) is None:
        complain("a tenant's name is up to 64 letters, digits, `.`, `_` and `-`, and starts with a letter or digit")
        return USAGE
    key = new_key()
    print(f"{key}\n")
    print("# The key above is not stored anywhere: keep it now. These lines go into the settings file:")
    if args.admin:
        print(f'[server]\nadmin_key_hash = "{hash_key(key)}"')
    else:
        print(f'[[key]]\ntenant = "{args.tenant}"\nhash = "{hash_key(key)}"')
    return OK
