"""A chat stream's texts, where nothing but text is wanted: a fraction of the work of the whole message. Pure."""

from __future__ import annotations

import msgspec

from gateway.variables.values import ProducedReply


class _Delta(msgspec.Struct, gc=False):
    content: str | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = []
    error: msgspec.Raw | None = None


_decode = msgspec.json.Decoder(_Event).decode
_PREFIX, _END, _DONE = b"data: ", b"\n\n", b"[DONE]"


def chat_texts(stream: bytes) -> ProducedReply | None:
    """The texts and finish reasons of a stream in vLLM's own form; None if it has another, or did not end well."""
    texts: dict[int, list[str]] = {}
    reasons: dict[int, str] = {}
    for event in stream.split(_END):
        if not event:
            continue
        if not event.startswith(_PREFIX):
            return None
        data = event[len(_PREFIX) :]
        if data == _DONE:
            break
        try:
            parsed = _decode(data)
        except msgspec.DecodeError:
            return None
        if parsed.error is not None:
            return None
        for choice in parsed.choices:
            said = texts.setdefault(choice.index, [])
            if choice.delta is not None and choice.delta.content:
                said.append(choice.delta.content)
            if choice.finish_reason is not None:
                reasons[choice.index] = choice.finish_reason
    if not texts or texts.keys() != reasons.keys():
        return None
    order = sorted(texts)
    joined = tuple("".join(texts[index]) for index in order)
    messages = tuple({"role": "assistant", "content": text} for text in joined)
    return ProducedReply(joined, messages, tuple(reasons[index] for index in order))
