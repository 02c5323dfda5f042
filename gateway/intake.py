"""From bytes to a call: body, hints, graph and estimates, in that order, each read once.

The result says everything the later stages need; nothing here waits.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from engines.base import RawHeaders
from gateway.cache.chain import MESSAGE_TOKENS, build_chain
from gateway.call import Call
from gateway.errors import BadRequest
from gateway.estimate.lengths import LengthEstimator
from gateway.estimate.tokens import PromptSize, TokenEstimator
from gateway.graph.facts import NO_LINKS, Links, PromptFacts
from gateway.graph.lineage import Lineage
from gateway.nouns import NO_CHAIN, Chain, ReadyCall
from gateway.wire.prompt import Prompt, read_prompt
from gateway.wire.request import BodyLimits, Request, parse_request
from gateway.wire.routes import Route
from hints.model import NO_HINT, Hint, Parsed
from hints.parse import parse
from hints.report import joined_notes, understood

AUDIO_CLIP_BYTES = 480_000
"""Audio counts as clips of 30 s at 16 kB/s."""
MIN_TOKENS_PER_BYTE = 0.01
NOT_READ = Parsed(NO_HINT)


@dataclass(frozen=True, slots=True)
class HintMode:
    """What hints may do: be read, and steer."""

    reads: bool = True
    steers: bool = True


MODES = {"off": HintMode(False, False), "observe": HintMode(True, False), "on": HintMode(True, True)}


class Intake:
    """Turns requests into calls. Owns the call ids of this process; everything else is shared with `resolve`."""

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        lineage: Lineage,
        tokens: TokenEstimator,
        lengths: LengthEstimator,
        salt: Callable[[str], str | None],
        only_model: Callable[[], str | None],
    ) -> None:
        self.limits = BodyLimits()
        self.mode = MODES["on"]
        self._clock = clock
        self._lineage = lineage
        self._tokens = tokens
        self._lengths = lengths
        self.salt = salt
        self._only_model = only_model
        self._ids = map(f"call-{secrets.token_hex(6)}-{{:x}}".format, itertools.count(1))

    def admit(self, tenant: str, route: Route, headers: RawHeaders, raw: bytes) -> Call:
        """Read one request. Raises: ClientFault, Unsupported, HintError (a data hint)."""
        now_s = self._clock()
        request = parse_request(route, raw, self.limits)
        parsed = parse(headers, request.fields) if self.mode.reads else NOT_READ
        prompt = read_prompt(request)
        call_id = next(self._ids)
        model = request.model or self._default_model()
        size = prompt_size(prompt, request)
        prompt_tokens = self._tokens.estimate(model, size)
        chain = self._chain(tenant, model, prompt, prompt_tokens) if route.generates else NO_CHAIN
        links = self._link(tenant, parsed.hint, chain, prompt, now_s)
        steering, session = (parsed.hint, links.session) if self.mode.steers else (NO_HINT, None)
        return Call(
            call_id=call_id,
            tenant=tenant,
            request=request,
            size=size,
            hint=parsed.hint,
            ready=ReadyCall(
                call_id=call_id,
                tenant=tenant,
                model=model,
                arrived_s=now_s,
                prompt_tokens=prompt_tokens,
                output_tokens=self._output_tokens(model, request, steering),
                chain=chain,
                program=program_key(tenant, session) if session is not None else None,
                objective=steering.objective,
                deadline_s=None if steering.deadline_ms is None else now_s + steering.deadline_ms / 1000,
                priority=steering.priority,
            ),
            session=links.session,
            inferred=links.inferred,
            edges=links.edges,
            adopted=links.adopted,
            understood=understood(parsed.hint) if parsed.hint.sources else "",
            notes=joined_notes(parsed.notes) if parsed.notes else "",
            arrived_s=now_s,
            arrived_at=time.time(),
        )

    def _default_model(self) -> str:
        model = self._only_model()
        if model is None:
            raise BadRequest("`model` is missing; GET /v1/models lists what is served.", param="model")
        return model

    def _chain(self, tenant: str, model: str, prompt: Prompt, prompt_tokens: int) -> Chain:
        """The prompt's chained hashes, with the rate that makes its last boundary agree with the estimate."""
        text_bytes = len(prompt.tools) + sum(map(len, prompt.canonical))
        text_tokens = prompt_tokens - MESSAGE_TOKENS * len(prompt.canonical)
        return build_chain(
            (self.salt(tenant) or "").encode(),
            model.encode(),
            prompt.tools,
            prompt.canonical,
            tokens_per_byte=max(MIN_TOKENS_PER_BYTE, text_tokens / max(1, text_bytes)),
        )

    def _link(self, tenant: str, hint: Hint, chain: Chain, prompt: Prompt, now_s: float) -> Links:
        if not self.mode.reads:
            return NO_LINKS
        facts = PromptFacts.of(prompt.roles, prompt.texts, prompt.tool_results)
        return self._lineage.link(tenant, hint, chain, facts, now_s)

    def _output_tokens(self, model: str, request: Request, steering: Hint) -> int:
        if not request.route.generates:
            return 1
        return self._lengths.expect(
            model,
            steering.name,
            steering.step,
            max_tokens=request.max_tokens,
            expected_tokens=steering.expected_tokens,
            n=request.n,
        )


def program_key(tenant: str, session: str) -> str:
    """A session's name on the scheduler: scoped to its tenant."""
    return f"{tenant}\0{session}"


def prompt_size(prompt: Prompt, request: Request) -> PromptSize:
    """How big a prompt is, as the token estimator sees it."""
    return PromptSize(
        ascii_bytes=prompt.ascii_bytes,
        other_bytes=prompt.other_bytes,
        tool_bytes=len(prompt.tools),
        messages=len(prompt.roles),
        images=prompt.images,
        audio=-(-prompt.audio_bytes // AUDIO_CLIP_BYTES),
        token_ids=prompt.token_ids,
        n=request.n,
        max_tokens=request.max_tokens,
    )
