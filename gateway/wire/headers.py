"""Which headers travel: to the worker by allow-list, back to the client all but the connection's own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

RawHeaders = Sequence[tuple[bytes, bytes]]

TO_WORKER = frozenset(
    {
        b"accept",
        b"content-type",
        b"traceparent",
        b"tracestate",
        b"anthropic-version",
        b"anthropic-beta",
    }
)
"""Client headers a worker may see. The client's key is never among them."""
_NOT_BACK = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"transfer-encoding",
        b"content-length",
        b"upgrade",
        b"trailer",
        b"te",
        b"proxy-authenticate",
        b"date",
        b"server",
        b"set-cookie",
    }
)


def worker_headers(client: RawHeaders, call_id: str, also: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """Headers for the worker: the allowed ones of the client's, and the call's id as request id."""
    headers = [pair for pair in client if pair[0] in TO_WORKER or pair[0] in also]
    headers.append((b"x-request-id", call_id.encode()))
    return headers


def client_headers(worker: RawHeaders) -> list[tuple[bytes, bytes]]:
    """Headers of a worker's reply that pass on to the client."""
    return [pair for pair in worker if pair[0] not in _NOT_BACK]


def is_event_stream(headers: RawHeaders) -> bool:
    """Whether a reply's body is server-sent events."""
    for name, value in headers:
        if name == b"content-type":
            return value.startswith(b"text/event-stream")
    return False


@lru_cache(maxsize=1024)
def latin1(text: str) -> bytes:
    """A header value; what a header cannot carry is replaced. Kept: names of workers and sessions come again."""
    return text.encode("ascii", "replace").replace(b"\r", b" ").replace(b"\n", b" ")
