"""What the benchmark sends: chat bodies of exact sizes, hint headers, and the cells of the table. Pure."""

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass

CALLS_PER_SESSION = 8
CONVERSATIONS = 16
NUMBER_DIGITS = 9
STREAM_CHUNKS = 64
NUMBERS_PER_RUN = 10**6
MODEL = "mock"
CHAT_PATH = "/v1/chat/completions"
STALL_MARK = "[stall]"
PACED_MARK = "[paced]"

_TURN_BYTES = 500
_SINGLE_TURN_BELOW_BYTES = 1000
_WORDS = (
    *("the", "plan", "reads", "every", "file", "then", "writes", "a", "short", "summary", "of", "what", "it"),
    *("found", "and", "asks", "next", "agent", "to", "check", "numbers", "dates", "names", "sources", "tables"),
    *("units", "before", "report", "goes", "out", "team"),
)


@dataclass(frozen=True, slots=True)
class Mix:
    """One kind of call: `body_bytes` long, streamed in 64 chunks or answered whole, with hints or without."""

    body_bytes: int
    stream: bool = False
    hinted: bool = False
    paced: bool = False
    """Streams only: events 1 ms apart, as engines send them, instead of back to back."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One row of the table: a mix at a number of connections, and the ratio asked of it (None: no target)."""

    label: str
    mix: Mix
    connections: int
    target_ratio: float | None = None


@dataclass(frozen=True, slots=True)
class BodyTemplate:
    """A JSON body cut where the call's number (`NUMBER_DIGITS` digits) goes, so that no two calls are equal."""

    head: str
    tail: str

    def fill(self, number: int) -> bytes:
        """The body of call `number`."""
        return f"{self.head}{number:0{NUMBER_DIGITS}d}{self.tail}".encode()


CELLS = (
    Cell("300 B, c=1", Mix(300), 1, 0.75),
    Cell("300 B, c=32", Mix(300), 32, 0.6),
    Cell("4 KB, c=1", Mix(4096), 1, 0.75),
    Cell("4 KB, c=32", Mix(4096), 32, 0.6),
    Cell("64 KB, c=1", Mix(65536), 1),
    Cell("64 KB, c=32", Mix(65536), 32),
    Cell("64-chunk stream, c=16", Mix(300, stream=True), 16, 0.6),
    Cell("64 chunks 1 ms apart, c=16", Mix(300, stream=True, paced=True), 16, 0.6),
    Cell("300 B, c=1, hinted", Mix(300, hinted=True), 1, 1.0),
    Cell("300 B, c=32, hinted", Mix(300, hinted=True), 32, 1.0),
    Cell("4 KB, c=32, hinted", Mix(4096, hinted=True), 32, 1.0),
    Cell("64-chunk stream, c=16, hinted", Mix(300, stream=True, hinted=True), 16, 1.0),
)


def body_templates(mix: Mix, seed: int) -> tuple[BodyTemplate, ...]:
    """Sixteen conversations of exactly `mix.body_bytes`; the call's number stands in the last user message."""
    rng = random.Random(seed)
    return tuple(_conversation(mix, rng) for _ in range(CONVERSATIONS))


def stalled_body() -> bytes:
    """A streamed chat call to which the mock sends one event and then nothing."""
    message = {"role": "user", "content": f"{STALL_MARK} wait here"}
    call = {"model": MODEL, "max_tokens": 16, "stream": True, "messages": [message]}
    return json.dumps(call, separators=(",", ":")).encode()


def session_of(number: int, connections: int) -> tuple[int, int]:
    """The session and step of call `number`: `connections` sessions run at once, each one call at a time."""
    lap, lane = divmod(number, connections)
    block, step = divmod(lap, CALLS_PER_SESSION)
    return block * connections + lane, step


def hint_headers(run: str, session: int, step: int) -> Mapping[str, str]:
    """The headers of one hinted call; `loadtest.overhead.wrk_script` builds the same ones in Lua."""
    return {
        "x-workflow-session": f"{run}-{session}",
        "x-workflow-name": "bench",
        "x-workflow-step": f"step{step}",
        "x-workflow-outputs": f"out{step}",
    }


def _conversation(mix: Mix, rng: random.Random) -> BodyTemplate:
    head = json.dumps({"model": MODEL, "max_tokens": STREAM_CHUNKS}, separators=(",", ":"))[:-1]
    if mix.stream:
        head += ',"stream":true'
    head += ',"messages":['
    tail = '"}]}'
    question = '{"role":"user","content":"' + (PACED_MARK if mix.paced else "Question") + " "
    spare = mix.body_bytes - NUMBER_DIGITS - len(tail)
    if mix.body_bytes >= _SINGLE_TURN_BELOW_BYTES:
        head += _turns(spare - len(head) - len(question) - _TURN_BYTES, rng)
    head += question
    return BodyTemplate(head, _text(spare - len(head), rng) + tail)


def _turns(budget_bytes: int, rng: random.Random) -> str:
    """A system prompt and whole turns, user first and assistant last, of at most `budget_bytes`."""
    turns = [_message("system", rng)]
    used_bytes = len(turns[0]) + 1
    pair_bytes = sum(len(_message(role, rng)) + 1 for role in ("user", "assistant"))
    while used_bytes + pair_bytes <= budget_bytes:
        turns += [_message("user", rng), _message("assistant", rng)]
        used_bytes += pair_bytes
    return ",".join(turns) + ","


def _message(role: str, rng: random.Random) -> str:
    return f'{{"role":"{role}","content":"{_text(_TURN_BYTES, rng)}"}}'


def _text(size_bytes: int, rng: random.Random) -> str:
    """Words of the benchmark's vocabulary, exactly `size_bytes` of ASCII."""
    words: list[str] = []
    length = 0
    while length < size_bytes:
        words.append(rng.choice(_WORDS))
        length += len(words[-1]) + 1
    return (" " + " ".join(words))[:size_bytes]
