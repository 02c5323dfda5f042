from __future__ import annotations

import pytest

from gateway.auth import Keys, credential, hash_key, matches, new_key
from gateway.errors import Unauthenticated
from gateway.settings import KeySettings

ALICE, BOB = new_key(), new_key()
KEYS = Keys([KeySettings(tenant="alice", hash=hash_key(ALICE)), KeySettings(tenant="bob", hash=hash_key(BOB))])


def bearer(key: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Bearer " + key.encode()


def api_key(key: str) -> tuple[bytes, bytes]:
    return b"x-api-key", key.encode()


def test_either_header_tells_the_tenant() -> None:
    assert KEYS.authenticate([(b"host", b"x"), bearer(ALICE)]) == "alice"
    assert KEYS.authenticate([api_key(BOB)]) == "bob"
    assert KEYS.authenticate([(b"authorization", b"bearer   " + BOB.encode() + b" ")]) == "bob"


def test_the_same_key_in_both_headers_is_one_credential() -> None:
    assert KEYS.authenticate([bearer(ALICE), api_key(ALICE)]) == "alice"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic " + ALICE.encode())],
        [(b"authorization", ALICE.encode())],
        [bearer(ALICE[:-1])],
        [bearer(ALICE + "x")],
        [bearer(ALICE[:20])],
        [bearer("default")],
        [(b"x-api-key", b"a" * 100_000)],
        [(b"x-api-key", b"\xff\xfe")],
        [bearer(ALICE), api_key(BOB)],
        [bearer(ALICE), bearer(ALICE)],
        [api_key(ALICE), api_key(BOB)],
        [bearer(ALICE), api_key("")],
        [api_key(""), bearer(ALICE)],
    ],
)
def test_missing_unknown_or_ambiguous_credentials_are_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(Unauthenticated) as caught:
        KEYS.authenticate(headers)
    assert ALICE not in caught.value.message


def test_without_keys_everybody_is_the_default_tenant() -> None:
    assert Keys([]).authenticate([bearer("whatever"), api_key("else")]) == "default"
    assert not Keys([])
    assert KEYS


def test_two_keys_of_one_tenant_are_both_live() -> None:
    keys = Keys([KeySettings(tenant="t", hash=hash_key(key)) for key in (ALICE, BOB)])
    assert keys.authenticate([api_key(ALICE)]) == keys.authenticate([api_key(BOB)]) == "t"


def test_keys_are_long_random_and_hashed_one_way() -> None:
    assert len({new_key() for _ in range(100)}) == 100
    assert ALICE.startswith("lg_")
    assert len(ALICE) >= 43
    assert ALICE not in hash_key(ALICE)


def test_the_admin_key_matches_by_hash() -> None:
    assert matches([bearer(ALICE)], hash_key(ALICE))
    assert not matches([bearer(BOB)], hash_key(ALICE))
    assert not matches([], hash_key(ALICE))
    assert not matches([bearer(ALICE), api_key(BOB)], hash_key(ALICE))


def test_credential_is_none_without_any() -> None:
    assert credential([(b"host", b"x")]) is None
