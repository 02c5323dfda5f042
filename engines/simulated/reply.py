"""What a simulated worker answers, before it takes the form of one API or another. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

from engines.simulated.behaviour import Behaviour
from engines.simulated.prompt import Body, Prompt, output_limit

PIECE = 4


@dataclass(frozen=True, slots=True)
class Reply:
    """One reply. Its tokens are text; a tool call takes their place."""

    id: str
    model: str
    created: int
    tokens: tuple[str, ...]
    prompt_tokens: int
    cached_tokens: int | None = None
    """None where the worker does not report it."""
    reasoning: tuple[str, ...] = ()
    tool: str | None = None
    truncated: bool = False
    choices: int = 1
    """How often an unstreamed chat says the same (`n`)."""

    @property
    def text(self) -> str:
        """All of its text."""
        return "".join(self.tokens)

    @property
    def completion_tokens(self) -> int:
        """What it cost to generate."""
        return (len(self.tokens) + len(self.reasoning)) * self.choices

    @property
    def finish_reason(self) -> str:
        """As OpenAI's chat names it."""
        if self.tool is not None:
            return "tool_calls"
        return "length" if self.truncated else "stop"

    def usage(self) -> Body:
        """As OpenAI's chat reports it."""
        usage: Body = {
            "prompt_tokens": self.prompt_tokens,
            "total_tokens": self.prompt_tokens + self.completion_tokens,
            "completion_tokens": self.completion_tokens,
        }
        if self.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": self.cached_tokens}
        return usage


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one API reads a request and writes a reply."""

    prompt: Callable[[Body], Prompt]
    id_prefix: str
    whole: Callable[[Reply], Any]
    """The unstreamed reply, to be sent as JSON."""
    events: Callable[[Reply, bool], Iterator[bytes]]
    """Server-sent events, one a token where there are tokens; the flag asks for usage."""
    head_events: int = 1
    """So many of them come before the first token's, with it."""


def answer(behaviour: Behaviour, body: Body, prompt: Prompt) -> tuple[tuple[str, ...], bool]:
    """The reply's tokens, a function of the prompt alone, and whether a limit cut them. Raises: BadBody."""
    limit = output_limit(body)
    text = f"echo: {prompt.last}"
    if body.get("continue_final_message"):
        text = text.removeprefix(str(body["messages"][-1].get("content")))
    tokens = tuple(text[start : start + PIECE] for start in range(0, len(text), PIECE))
    length = behaviour.output_tokens
    if length is None and body.get("ignore_eos"):
        length = limit
    if length is not None:
        tokens = tuple(islice(cycle(tokens), length))
    if limit is not None and limit < len(tokens):
        return tokens[:limit], True
    return tokens, False


def tool_offered(body: Body) -> str | None:
    """The name of the first tool of the request, in OpenAI's or Anthropic's form."""
    tools = body.get("tools")
    if not isinstance(tools, list) or not tools:
        return None
    tool = tools[0].get("function", tools[0])
    return str(tool.get("name"))


def sse(data: bytes) -> bytes:
    """One event."""
    return b"data: %b\n\n" % data


DONE = sse(b"[DONE]")
