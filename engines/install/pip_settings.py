"""What pip was told (indexes, wheels, certificates), said to uv: the user configures one of them. Pure."""

from __future__ import annotations

import ast
from collections.abc import Mapping

_UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_EXTRA_INDEX_URL",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
_SEPARATORS = {"find-links": ",", "trusted-host": ","}
_SECTIONS = ("global", "install", ":env:")
"""In pip's order: what comes later wins."""


def parse(listing: str) -> dict[str, str]:
    """Read the output of `pip config list` (`global.index-url='...'`) into option names and values."""
    found: dict[str, str] = {}
    lines = [line.partition("=") for line in listing.splitlines()]
    for section in _SECTIONS:
        for key, _, value in lines:
            if key.startswith(f"{section}."):
                found[key.removeprefix(f"{section}.")] = _unquoted(value)
    return found


def uv_environment(pip: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """The variables to add for uv; one the user has set already stays.

    pip looks at all its indexes alike, so uv is told to do so too where there are several.
    """
    added = {
        uv_name: _SEPARATORS.get(option, " ").join(pip[option].split())
        for option, uv_name in _UV_NAMES.items()
        if pip.get(option)
    }
    if "UV_EXTRA_INDEX_URL" in added:
        added["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in added.items() if not environ.get(name)}


def _unquoted(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (ValueError, SyntaxError):
        return value
