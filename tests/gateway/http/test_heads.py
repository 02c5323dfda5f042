"""What the head of a request may be, without a connection around it."""

from __future__ import annotations

import pytest

from gateway.http.heads import Refused, check_host, host_of, split_target

HOST = (b"host", b"h")
LENGTH = (b"content-length", b"2")
CHUNKED = (b"transfer-encoding", b"chunked")


@pytest.mark.parametrize(
    ("headers", "version", "code"),
    [
        ([HOST], "2.0", "bad_http_version"),
        ([], "1.1", "bad_host"),
        ([HOST, HOST], "1.1", "bad_host"),
        ([HOST, HOST], "1.0", "bad_host"),
        ([HOST, LENGTH, CHUNKED], "1.1", "bad_framing"),
        ([HOST, LENGTH, LENGTH], "1.1", "bad_framing"),
        ([LENGTH, CHUNKED], "1.1", "bad_framing"),
    ],
)
def test_what_is_ambiguous_is_refused(headers: list[tuple[bytes, bytes]], version: str, code: str) -> None:
    with pytest.raises(Refused) as refused:
        host_of(headers, version)
    assert refused.value.code == code


def test_the_host_is_told_and_an_old_client_need_not_send_one() -> None:
    assert host_of([(b"x", b"y"), HOST, LENGTH], "1.1") == b"h"
    assert host_of([CHUNKED], "1.0") is None


@pytest.mark.parametrize("host", [b"h", b"h:80", b"", b"10.0.0.1:8080", b"[::1]:80", b"a_b.c"])
def test_hosts(host: bytes) -> None:
    check_host(host)


@pytest.mark.parametrize("host", [b"h h", b"h/p", b"u@h", b"h:port", b"[::1", b"h\x00", b"h:80:80"])
def test_what_is_no_host_is_refused(host: bytes) -> None:
    with pytest.raises(Refused) as refused:
        check_host(host)
    assert (refused.value.status, refused.value.code) == (400, "bad_host")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"/v1/models", (b"/v1/models", b"")),
        (b"/a?b=c?d", (b"/a", b"b=c?d")),
        (b"http://h/v1/models?x=1", (b"/v1/models", b"x=1")),
        (b"/a#b", (b"/a", b"")),
    ],
)
def test_a_target_is_path_and_query(target: bytes, expected: tuple[bytes, bytes]) -> None:
    assert split_target(target) == expected


@pytest.mark.parametrize("target", [b"*", b"h:80", b"http://h", b"http://"])
def test_what_is_no_path_is_refused(target: bytes) -> None:
    with pytest.raises(Refused) as refused:
        split_target(target)
    assert refused.value.code == "bad_target"
