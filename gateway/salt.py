"""The engine's `cache_salt` per trust group: who shares a group can tell from timing what the group has cached.

A salt is an HMAC of the group under its members' oldest key hashes, so it needs no secret of its own, is the same
on every replica, and cannot be computed by another tenant.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

from gateway.settings import KeySettings


class Salts:
    """Tenant to salt; None where there is nobody to be told apart."""

    def __init__(self, keys: Sequence[KeySettings], groups: Mapping[str, str], enabled: bool) -> None:
        secrets: dict[str, str] = {}
        for key in keys if enabled else ():
            secrets.setdefault(groups.get(key.tenant, key.tenant), key.hash)
        self._salts = {key.tenant: _salt(groups.get(key.tenant, key.tenant), secrets) for key in keys if enabled}

    def __call__(self, tenant: str) -> str | None:
        """The salt of a tenant's calls."""
        return self._salts.get(tenant)


def _salt(group: str, secrets: Mapping[str, str]) -> str:
    return hmac.digest(secrets[group].encode(), group.encode(), "sha256").hex()[:32]
