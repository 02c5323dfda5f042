"""The lean pooled HTTP/1.1 client towards one origin.

1. `send` takes the youngest idle connection, or opens one. 2. The request goes out in one write.
3. It returns at the reply's head; a reply known to be short is complete by then, so that it costs one wake-up.
4. The reply's end gives the connection back. Redirects, cookies, compression and proxy variables do not exist here.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from engines.base import Disconnected, RawHeaders, Unreachable
from engines.http_connection import HttpResponse, Stale
from engines.http_pool import Pool, PoolLimits

OURS = frozenset({b"host", b"content-length", b"connection", b"transfer-encoding", b"keep-alive", b"upgrade"})
"""Headers the client writes itself; a caller's are left out."""
_CONTROLS = frozenset(map(chr, [*range(33), 127]))


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go."""

    host: str
    port: int
    tls: bool
    prefix: str
    """Put before every target."""
    authority: str
    """The `host` header."""

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read `http[s]://host[:port][/prefix]`; a trailing `/v1` belongs to the targets and is dropped.

        Raises: ValueError.
        """
        if not url.isascii() or not _CONTROLS.isdisjoint(url):
            raise ValueError(f"not a plain URL: {url!r}")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"not an http or https URL: {url!r}")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("a worker's URL holds neither credentials nor a query")
        tls = parts.scheme == "https"
        prefix = parts.path.rstrip("/").removesuffix("/v1")
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls, prefix, parts.netloc)


class HttpClient:
    """Calls to one origin, any number at a time, all on one event loop."""

    def __init__(
        self,
        url: str,
        *,
        headers: RawHeaders = (),
        limits: PoolLimits | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`headers` go with every request; `tls` is for https. Raises: ValueError on a bad URL or header."""
        self.origin = Origin.parse(url)
        common = [(b"host", self.origin.authority.encode()), *headers]
        self._common = _lines(common, len(common))
        self._limits = limits or PoolLimits()
        self._tls = (tls or ssl.create_default_context()) if self.origin.tls else None
        self._pool: Pool | None = None

    @property
    def idle(self) -> int:
        """Open connections waiting for a call."""
        return self._pool.idle if self._pool is not None else 0

    @property
    def busy(self) -> int:
        """Connections in a call."""
        return self._pool.busy if self._pool is not None else 0

    async def send(
        self,
        method: str,
        target: str,
        headers: RawHeaders,
        body: bytes,
        *,
        first_byte_s: float,
        idle_s: float,
    ) -> HttpResponse:
        """See `Engine.send`. Raises: EngineError; ValueError if a header or the target breaks framing."""
        request = self._request(method, target, headers, body)
        pool = self._pool
        if pool is None:
            pool = self._pool = Pool(self.origin.host, self.origin.port, self._tls, self._limits)
        bodiless = method == "HEAD"
        connection = pool.take()
        if connection is None:
            connection = await pool.connect(first_byte_s)
            return await connection.exchange(request, bodiless, first_byte_s, idle_s)
        try:
            return await connection.exchange(request, bodiless, first_byte_s, idle_s)
        except Stale:
            pass
        try:
            connection = await pool.connect(first_byte_s)
        except Unreachable as error:
            raise Disconnected("the worker closed the connection, and takes no other") from error
        return await connection.exchange(request, bodiless, first_byte_s, idle_s)

    async def close(self) -> None:
        """Abort all connections. Later calls are Unreachable."""
        if self._pool is None:
            self._pool = Pool(self.origin.host, self.origin.port, self._tls, self._limits)
        await self._pool.close()

    def _request(self, method: str, target: str, headers: RawHeaders, body: bytes) -> bytes:
        line = _request_line(method, self.origin.prefix, target)
        kept = [header for header in headers if header[0] not in OURS]
        lines = _lines(kept, len(kept))
        if body or method in ("POST", "PUT", "PATCH"):
            return b"%b%b%bcontent-length: %d\r\n\r\n%b" % (line, self._common, lines, len(body), body)
        return b"%b%b%b\r\n" % (line, self._common, lines)


@lru_cache(maxsize=256)
def _request_line(method: str, prefix: str, target: str) -> bytes:
    """The first line. Raises: ValueError if it would not be one line of three words."""
    line = f"{method} {prefix}{target} HTTP/1.1\r\n".encode("ascii")
    if line.count(b" ") != 2 or line.count(b"\n") != 1 or line.count(b"\r") != 1:
        raise ValueError(f"not a request line: {line!r}")
    return line


def _lines(headers: RawHeaders, count: int) -> bytes:
    """The header lines. Raises: ValueError if a name or value holds a line break or NUL."""
    lines = b"".join([b"%b: %b\r\n" % header for header in headers])
    if lines.count(b"\n") != count or lines.count(b"\r") != count or b"\0" in lines:
        raise ValueError("a header holds a line break or NUL")
    return lines
