"""One run of a program: by its client, which waits for each result, or by the gateway, which gets all at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion

from loadtest.program.graph import Ask, Lookup, Program, filled
from loadtest.program.modes import Mode, headers
from loadtest.program.outcome import Work

_WAIT_S = 600
"""How long a request for a variable waits at the gateway, the most it allows; a run's own limit is shorter."""


class WrongWork(Exception):
    """A reply was not as long as it must be, so its run cannot be compared with others."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a program runs."""

    client: AsyncOpenAI
    """The program's client, with its network delay."""
    beside: AsyncOpenAI
    """A client next to the gateway, without delay: where lookups live when the gateway runs the program."""
    model: str


@dataclass(slots=True)
class Run:
    """One run; `values` are awaited by the steps that read them. Raises out of `go`: whatever a call raises."""

    program: Program
    mode: Mode
    place: Place
    nonce: str
    batch_nonce: str = ""
    """Before a system message that the batch's runs share."""
    work: Work = field(default_factory=Work)
    values: dict[str, asyncio.Future[str]] = field(default_factory=dict)
    ended_s: list[float] = field(default_factory=list)
    """When each call's reply was there, monotonic."""

    @property
    def session(self) -> str:
        """The run's session, where the mode has one."""
        return f"{self.program.name}-{self.mode}-{self.nonce}"

    async def go(self) -> str:
        """Run every step; the last one's text. The first error ends the rest and is the one that is raised."""
        loop = asyncio.get_running_loop()
        self.values = {step.name: loop.create_future() for step in self.program.steps}
        try:
            async with asyncio.TaskGroup() as group:
                for step in self.program.steps:
                    group.create_task(self._ask(step) if isinstance(step, Ask) else self._look_up(step))
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return self.values[self.program.last].result()

    async def _ask(self, ask: Ask) -> None:
        values = None if self.mode is Mode.GATEWAY else await self._read(ask.inputs)
        reply: ChatCompletion = await self.place.client.chat.completions.create(
            model=self.place.model,
            messages=self._messages(ask, values),
            max_tokens=ask.max_tokens,
            temperature=0,
            extra_headers=headers(self.mode, self.program, ask, self.session),
            extra_body={"ignore_eos": True},
        )
        self._count(ask, reply)
        self.values[ask.name].set_result(reply.choices[0].message.content or "")

    def _messages(self, ask: Ask, values: Mapping[str, str] | None) -> list[Any]:
        """In OpenAI's form; placeholders are left where there are no values."""
        nonce = self.batch_nonce if self.program.is_shared else self.nonce
        said = ask.messages(f"{nonce} {self.program.system}")
        return [{"role": role, "content": text if values is None else filled(text, values)} for role, text in said]

    async def _look_up(self, lookup: Lookup) -> None:
        if self.mode is not Mode.GATEWAY:
            found = lookup.find(await self._read(lookup.inputs))
            await asyncio.sleep(lookup.takes_s)
            self.values[lookup.name].set_result(found)
            return
        value = lookup.find({name: await self._fetch(name) for name in lookup.inputs})
        await asyncio.sleep(lookup.takes_s)
        await self.place.beside.put(
            self._variable(lookup.name),
            cast_to=str,
            content=value.encode(),
            options={"headers": {"content-type": "text/plain"}},
        )
        self.values[lookup.name].set_result(value)

    async def _read(self, names: tuple[str, ...]) -> Mapping[str, str]:
        return {name: await self.values[name] for name in names}

    async def _fetch(self, name: str) -> str:
        """A variable's value from the gateway, once it has one."""
        return await self.place.beside.get(
            self._variable(name),
            cast_to=str,
            options={"params": {"wait_s": _WAIT_S}, "headers": {"accept": "text/plain"}},
        )

    def _variable(self, name: str) -> str:
        return f"/workflow/sessions/{quote(self.session, safe='')}/variables/{quote(name, safe='')}"

    def _count(self, ask: Ask, reply: ChatCompletion) -> None:
        """Add a reply's tokens. Raises: WrongWork."""
        usage = reply.usage
        if usage is None or usage.completion_tokens != ask.max_tokens:
            made = "no usage" if usage is None else f"{usage.completion_tokens} tokens"
            raise WrongWork(f"{ask.name}: {made} where {ask.max_tokens} were asked for with ignore_eos")
        details = usage.prompt_tokens_details
        self.ended_s.append(time.monotonic())
        self.work.calls += 1
        self.work.prompt_tokens += usage.prompt_tokens
        self.work.completion_tokens += usage.completion_tokens
        self.work.cached_tokens += (details.cached_tokens or 0) if details is not None else 0
