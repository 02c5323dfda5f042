"""The URLs a store may have. Pure."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

SENTINEL_SCHEME = "redis+sentinel"
SCHEMES = frozenset({"redis", "rediss", "unix", SENTINEL_SCHEME, "memory"})


def check_url(url: str) -> None:
    """Raises: ValueError naming what is wrong, without the password."""
    parts = urlsplit(url)
    if parts.scheme not in SCHEMES:
        known = ", ".join(sorted(f"{scheme}://" for scheme in SCHEMES))
        raise ValueError(f"the store's URL must begin with one of {known}")
    if parts.scheme == SENTINEL_SCHEME:
        sentinels_of(url)


def without_secrets(url: str) -> str:
    """The URL as it may be shown: no user, no password, no query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def sentinels_of(url: str) -> tuple[list[tuple[str, int]], str, int]:
    """The Sentinels' addresses, the master's name and the database. Raises: ValueError."""
    parts = urlsplit(url)
    master, _, db = parts.path.strip("/").partition("/")
    try:
        pairs = [host.rpartition(":") for host in parts.netloc.rpartition("@")[2].split(",")]
        hosts = [(host, int(port)) for host, _, port in pairs if host]
        if hosts and master:
            return hosts, unquote(master), int(db or 0)
    except ValueError:
        pass
    raise ValueError("a Sentinel URL is redis+sentinel://host:26379,host:26379/master-name[/db]")
