"""A tenant's client in front of a lineage: sends calls, gets their links, and has their answers learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from gateway.cache.chain import build_chain
from gateway.graph.facts import Links, PromptFacts
from gateway.graph.lineage import Lineage
from hints.model import NO_HINT, Hint

Message = tuple[str, bytes]


@dataclass
class Client:
    """Sends calls as one tenant, on a clock that the test moves."""

    lineage: Lineage
    tenant: str = "acme"
    now_s: float = 0.0
    sent: dict[str, Links] = field(default_factory=dict)

    def as_tenant(self, tenant: str) -> Client:
        return replace(self, tenant=tenant, sent={})

    def call(
        self,
        call_id: str,
        messages: Sequence[Message],
        answer: bytes | None,
        *,
        hint: Hint = NO_HINT,
        made: Sequence[str] = (),
        results: Sequence[str] = (),
    ) -> Links:
        canonical = [role.encode() + b"\0" + text for role, text in messages]
        chain = build_chain(b"", b"model", b"", canonical)
        facts = PromptFacts(
            [text for _, text in messages],
            [i for i, (role, _) in enumerate(messages) if role == "assistant"],
            results,
        )
        links = self.lineage.link(self.tenant, hint, chain, facts, self.now_s)
        self.lineage.learn(
            self.tenant,
            call_id,
            session=links.session,
            step=hint.step,
            chain=chain,
            output=answer,
            tool_call_ids=made,
            now_s=self.now_s,
        )
        self.sent[call_id] = links
        return links


@pytest.fixture
def client() -> Client:
    return Client(Lineage())


@pytest.fixture(scope="session")
def new_client() -> type[Client]:
    """For property tests, which need a fresh one per example: `new_client(Lineage())`."""
    return Client
