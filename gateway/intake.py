"""From bytes to a call: body, hints, graph and estimates, in that order, each read once.

The result says everything the later stages need; nothing here waits.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace as change
from typing import Any

from msgspec.structs import replace

from engines.base import RawHeaders
from gateway.cache.chain import MESSAGE_TOKENS, build_chain
from gateway.call import Call
from gateway.errors import BadRequest
from gateway.estimate.lengths import LengthEstimator, template_of
from gateway.estimate.tokens import TokenEstimator
from gateway.graph.facts import NO_LINKS, Links, PromptFacts
from gateway.graph.lineage import Lineage
from gateway.nouns import NO_CHAIN, Chain, ReadyCall
from gateway.wire.prompt import Prompt, read_prompt
from gateway.wire.request import BodyLimits, Request, parse_request
from gateway.wire.routes import Route, Shape
from hints.model import NO_HINT, Hint, Mode, Output, Parsed
from hints.parse import parse

MIN_TOKENS_PER_BYTE = 0.01
NOT_READ = Parsed(NO_HINT)
_RESPONSES = Shape.RESPONSES


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
        replica: str,
        clock: Callable[[], float],
        lineage: Lineage,
        tokens: TokenEstimator,
        lengths: LengthEstimator,
        salt: Callable[[str], str | None],
        only_model: Callable[[], str | None],
    ) -> None:
        """The ids of its calls begin with `replica`, in hexadecimal: whoever knows one knows who runs it."""
        self.limits = BodyLimits()
        self.mode = MODES["on"]
        self._clock = clock
        self._lineage = lineage
        self._tokens = tokens
        self._lengths = lengths
        self.salt = salt
        self._only_model = only_model
        self._ids = map(f"call-{replica}-{{:x}}".format, itertools.count(1))

    def admit(self, tenant: str, route: Route, headers: RawHeaders, raw: bytes, call_id: str | None = None) -> Call:
        """Read one request, a new call unless it has an id.

        Raises: ClientFault, Unsupported, HintError (a data hint).
        """
        now_s = self._clock()
        request = parse_request(route, raw, self.limits)
        reads, steers = self.mode.reads, self.mode.steers
        parsed = parse(headers, request.fields) if reads else NOT_READ
        call_id = call_id or next(self._ids)
        if route.shape is _RESPONSES and request.in_background:
            parsed = _in_background(parsed, call_id)
        hint = parsed.hint
        steering = hint if steers else NO_HINT
        prompt = read_prompt(request)
        model = request.model or self._default_model()
        prompt_tokens = self._tokens.estimate(model, prompt.size)
        chain, output_tokens = NO_CHAIN, 1
        if route.generates:
            chain = self._chain(tenant, model, prompt, prompt_tokens)
            output_tokens = self._forecast(model, steering, chain, request)
        links = self._link(tenant, hint, chain, prompt, now_s) if reads else NO_LINKS
        session = links.session
        ready = ReadyCall(
            call_id,
            tenant,
            model,
            now_s,
            prompt_tokens,
            output_tokens,
            chain,
            program_key(tenant, session) if session is not None and steers else None,
            steering.objective,
            None if steering.deadline_ms is None else now_s + steering.deadline_ms / 1000,
            steering.priority,
            patience_s=hint.read_timeout_s,
        )
        return Call(
            call_id=call_id,
            tenant=tenant,
            request=request,
            size=prompt.size,
            hint=hint,
            ready=ready,
            session=session,
            inferred=links.inferred,
            edges=links.edges,
            adopted=links.adopted,
            understood=parsed.understood,
            notes=parsed.noted,
            arrived_s=now_s,
            arrived_at=time.time(),
        )

    def _forecast(self, model: str, steering: Hint, chain: Chain, request: Request) -> int:
        return self._lengths.forecast(
            model,
            steering.name,
            steering.step,
            template=template_of(chain),
            max_tokens=request.max_tokens,
            expected_tokens=steering.expected_tokens,
            n=request.n,
        )

    def item(self, call: Call, call_id: str, outputs: tuple[Output, ...]) -> Call:
        """A call of its own for one item that `call` is mapped over; what it costs is yet to be estimated."""
        hint = change(
            call.hint,
            parent=call.call_id,
            inputs=(),
            outputs=outputs,
            after=(),
            mode=Mode.WAIT,
            final=False,
            idempotency_key=None,
            retry_count=0,
        )
        now_s = self._clock()
        return Call(
            call_id=call_id,
            tenant=call.tenant,
            request=call.request,
            size=call.size,
            hint=hint,
            ready=replace(call.ready, call_id=call_id, arrived_s=now_s),
            session=call.session,
            inferred=False,
            edges=(),
            adopted=(),
            understood="",
            notes="",
            arrived_s=now_s,
            arrived_at=time.time(),
        )

    def reestimate(self, call: Call, fields: dict[str, Any]) -> None:
        """Estimate anew what a call costs, from the fields with its inputs filled in; none of them is kept."""
        prompt = read_prompt(replace(call.request, fields=fields))
        call.size = prompt.size
        call.ready = self._measured(call, prompt)

    def head(self, call: Call, fields: dict[str, Any]) -> ReadyCall:
        """What the scheduler is told of the beginning of a call whose inputs are not there yet."""
        measured = self._measured(call, read_prompt(replace(call.request, fields=fields)))
        return replace(measured, output_tokens=1)

    def _measured(self, call: Call, prompt: Prompt) -> ReadyCall:
        ready = call.ready
        prompt_tokens = self._tokens.estimate(ready.model, prompt.size)
        generates = call.request.route.generates
        chain = self._chain(call.tenant, ready.model, prompt, prompt_tokens) if generates else NO_CHAIN
        return replace(ready, prompt_tokens=prompt_tokens, chain=chain)

    def _default_model(self) -> str:
        model = self._only_model()
        if model is None:
            raise BadRequest("`model` is missing; GET /v1/models lists what is served.", param="model")
        return model

    def _chain(self, tenant: str, model: str, prompt: Prompt, prompt_tokens: int) -> Chain:
        """The prompt's chained hashes, with the rate that makes its last boundary agree with the estimate."""
        text_bytes = len(prompt.tools) + sum(map(len, prompt.canonical)) or 1
        rate = (prompt_tokens - MESSAGE_TOKENS * len(prompt.canonical)) / text_bytes
        return build_chain(
            (self.salt(tenant) or "").encode(),
            model.encode(),
            prompt.tools,
            prompt.canonical,
            tokens_per_byte=rate if rate > MIN_TOKENS_PER_BYTE else MIN_TOKENS_PER_BYTE,
        )

    def _link(self, tenant: str, hint: Hint, chain: Chain, prompt: Prompt, now_s: float) -> Links:
        facts = PromptFacts.of(prompt.roles, prompt.texts, prompt.tool_results)
        return self._lineage.link(tenant, hint, chain, facts, now_s)


def _in_background(parsed: Parsed, call_id: str) -> Parsed:
    """A response in the background is a deferred call, of a session of its own unless it says which."""
    hint = parsed.hint
    return change(parsed, hint=change(hint, mode=Mode.DEFERRED, session=hint.session or call_id))


def program_key(tenant: str, session: str) -> str:
    """A session's name on the scheduler: scoped to its tenant."""
    return f"{tenant}\0{session}"
