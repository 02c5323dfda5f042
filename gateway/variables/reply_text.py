"""A parsed, unstreamed reply of each API dialect as what transforms read. Pure."""

from __future__ import annotations

from typing import Any

from gateway.variables.values import ProducedReply


def read_reply(reply: dict[str, Any]) -> ProducedReply:
    """The choices of a chat completion or completion, else the one answer of Messages or Responses.

    Never raises: what is not there is empty. Choices come in the order of their index.
    """
    choices = reply.get("choices")
    if isinstance(choices, list):
        return _choices([choice for choice in choices if isinstance(choice, dict)])
    if isinstance(reply.get("output"), list):
        return _response(reply, reply["output"])
    content = reply.get("content")
    message: dict[str, Any] = {key: reply[key] for key in ("role", "content") if key in reply}
    return ProducedReply((_texts(content, "text"),), (message,), (_word(reply.get("stop_reason")),))


def _choices(choices: list[dict[str, Any]]) -> ProducedReply:
    choices = sorted(choices, key=_index)
    messages = tuple(_message(choice) for choice in choices)
    texts = tuple(_content(message) for message in messages)
    return ProducedReply(texts, messages, tuple(_word(choice.get("finish_reason")) for choice in choices))


def _index(choice: dict[str, Any]) -> int:
    index = choice.get("index")
    return index if isinstance(index, int) else 0


def _message(choice: dict[str, Any]) -> dict[str, Any]:
    """A choice's message; a completion's text as one."""
    message = choice.get("message")
    return message if isinstance(message, dict) else {"role": "assistant", "content": choice.get("text")}


def _content(message: dict[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else _texts(content, "text")


def _response(reply: dict[str, Any], output: list[Any]) -> ProducedReply:
    messages = [item for item in output if isinstance(item, dict) and item.get("type") == "message"]
    text = "".join(_texts(item.get("content"), "output_text") for item in messages)
    reason: object = reply.get("status")
    details = reply.get("incomplete_details")
    if reason == "incomplete" and isinstance(details, dict):
        reason = details.get("reason")
    return ProducedReply((text,), ({"role": "assistant", "output": output},), (_word(reason),))


def _texts(blocks: object, kind: str) -> str:
    if not isinstance(blocks, list):
        return ""
    texts = [block.get("text") for block in blocks if isinstance(block, dict) and block.get("type") == kind]
    return "".join(text for text in texts if isinstance(text, str))


def _word(value: object) -> str | None:
    return value if isinstance(value, str) else None
