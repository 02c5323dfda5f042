"""What the head of a request may be: its version, its framing, its host, its target. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import httptools

_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~!$&'()*+,;=%-]*|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?").fullmatch
_FRAMING: Final = frozenset({b"content-length", b"transfer-encoding", b"host"})


class Refused(Exception):
    """The request cannot be read on; `code` is stable."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def host_of(headers: Iterable[tuple[bytes, bytes]], http_version: str) -> bytes | None:
    """The host that a head names, once its version and framing are known to be right; names are in lower case.

    Raises: Refused.
    """
    if http_version not in ("1.1", "1.0"):
        raise Refused(505, "bad_http_version", "Speak HTTP/1.1.")
    host: bytes | None = None
    framings = 0
    for name, value in headers:
        if name in _FRAMING:
            if name != b"host":
                framings += 1
            elif host is not None:
                raise _hosts()
            else:
                host = value
    if framings > 1:
        raise Refused(400, "bad_framing", "Send either Content-Length or Transfer-Encoding, once.")
    if host is None and http_version == "1.1":
        raise _hosts()
    return host


def check_host(host: bytes) -> None:
    """Raises: Refused, unless it is a name or an address, perhaps with a port."""
    if _HOST(host) is None:
        raise Refused(400, "bad_host", "The Host header is not a host.")


def head_too_large(limit_bytes: int) -> Refused:
    """For a head over the limit."""
    message = f"The request's head is over {limit_bytes} bytes ([limits] header_bytes)."
    return Refused(431, "headers_too_large", message)


def split_target(target: bytes) -> tuple[bytes, bytes]:
    """Path and query of a request target, absolute ones included. Raises: Refused."""
    if target[:1] != b"/" or b"#" in target:
        try:
            url: Any = httptools.parse_url(target)  # its stubs know no parts that are missing
        except httptools.HttpParserInvalidURLError:
            raise _bad_target() from None
        if not url.path or url.path[:1] != b"/":
            raise _bad_target()
        return url.path, url.query or b""
    path, _, query = target.partition(b"?")
    return path, query


def _bad_target() -> Refused:
    return Refused(400, "bad_target", "The request target is not a path.")


def _hosts() -> Refused:
    return Refused(400, "bad_host", "Send exactly one Host header.")
