"""API keys: making them, and telling from a request's raw headers whose it is.

A key is 256 random bits, so one SHA-256 is the right hash at rest: slow, salted hashes protect guessable passwords,
and nobody guesses 256 bits; a fast hash keeps authentication at microseconds a call.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from engines.base import RawHeaders
from gateway.errors import Unauthenticated
from gateway.settings import KeySettings

DEFAULT_TENANT: Final = "default"
"""Whose every call is when there are no keys."""
KEY_PREFIX: Final = "lg_"
_HASH_PREFIX: Final = "sha256:"
_MAX_KEY_BYTES: Final = 512
_AMBIGUOUS: Final = (
    "The request carries more than one credential. Send one, as `Authorization: Bearer KEY` or `x-api-key: KEY`."
)
_MISSING: Final = "No API key. Send it as `Authorization: Bearer KEY` or `x-api-key: KEY`."
_UNKNOWN: Final = "Unknown API key."


def new_key() -> str:
    """A fresh key. It says nothing of its tenant and is shown once."""
    return KEY_PREFIX + secrets.token_urlsafe(32)


def hash_key(key: str) -> str:
    """The form in which a key is kept: `sha256:` and 64 hex digits."""
    return _HASH_PREFIX + sha256(key.encode()).hexdigest()


def credential(headers: RawHeaders) -> bytes | None:
    """The one API key a request carries, None without any. Raises: Unauthenticated if it is not one."""
    found: bytes | None = None
    previous = b""
    for name, value in headers:
        if name == b"authorization":
            scheme, _, key = value.partition(b" ")
            if scheme.lower() != b"bearer":
                raise Unauthenticated(_MISSING)
        elif name == b"x-api-key":
            key = value
        else:
            continue
        key = key.strip()
        if found is not None and (key != found or name == previous):
            raise Unauthenticated(_AMBIGUOUS)
        found, previous = key, name
    return found


class Keys:
    """The live keys. Immutable: a reload builds a new one."""

    __slots__ = ("_tenants",)

    def __init__(self, keys: Iterable[KeySettings]) -> None:
        self._tenants = {_digest(key.hash): (_digest(key.hash), key.tenant) for key in keys}

    def __bool__(self) -> bool:
        return bool(self._tenants)

    def authenticate(self, headers: RawHeaders) -> str:
        """The tenant a request belongs to; `default` if there are no keys at all. Raises: Unauthenticated."""
        if not self._tenants:
            return DEFAULT_TENANT
        key = credential(headers)
        if not key:
            raise Unauthenticated(_MISSING)
        if len(key) > _MAX_KEY_BYTES:
            raise Unauthenticated(_UNKNOWN)
        digest = sha256(key).digest()
        known = self._tenants.get(digest)
        if known is None or not hmac.compare_digest(known[0], digest):
            raise Unauthenticated(_UNKNOWN)
        return known[1]


def matches(headers: RawHeaders, key_hash: str) -> bool:
    """Whether the request's one credential has this hash (the admin key)."""
    try:
        key = credential(headers)
    except Unauthenticated:
        return False
    return key is not None and hmac.compare_digest(sha256(key).digest(), _digest(key_hash))


def _digest(key_hash: str) -> bytes:
    return bytes.fromhex(key_hash.removeprefix(_HASH_PREFIX))
