"""What a body may not hold: fields that steer the engine's insides, media it would fetch or unpickle. Pure."""

from __future__ import annotations

from typing import Any

from gateway.errors import BadRequest, ForbiddenField, Unsupported

REFUSED = {
    "kv_transfer_params": "it moves KV cache between workers and is the gateway's business",
    "ec_transfer_params": "it moves encoder outputs between workers and is the gateway's business",
    "chat_template": "templates run inside the engine; configure them on the worker",
    "media_io_kwargs": "it changes how the worker opens media; configure it on the worker",
    "mm_processor_kwargs": "it changes how the worker opens media; configure it on the worker",
    "prompt_embeds": "serialised tensors are not accepted from clients",
}


STEERING = frozenset(REFUSED) | {"chat_template_kwargs"}
"""Fields to look at before a body passes; most bodies have none of them."""


def refuse_steering(fields: dict[str, Any]) -> None:
    """Refuse fields that steer the engine's insides. Raises: ForbiddenField."""
    for key in REFUSED.keys() & fields.keys():
        if fields[key] is not None:
            raise ForbiddenField(f"`{key}` is not accepted: {REFUSED[key]}.", param=key)
    template = fields.get("chat_template_kwargs")
    if isinstance(template, dict) and not template.keys().isdisjoint(("chat_template", "tokenize")):
        raise ForbiddenField("`chat_template_kwargs` may not set the template.", param="chat_template_kwargs")


def refuse_media(fields: dict[str, Any], remote: bool) -> None:
    """Refuse content parts that would make the engine open, fetch (unless `remote`) or unpickle something.

    Looks at every message and content part, those inside tool results included. Raises: ForbiddenField.
    """
    waiting = [fields[key] for key in _CONTENT_KEYS if key in fields]
    while waiting:
        value = waiting.pop()
        if type(value) is list:
            waiting += [item for item in value if type(item) is dict or type(item) is list]
        elif type(value) is dict:
            if "type" in value or not _MEDIA_NAMES.isdisjoint(value):
                _refuse_part(value, remote)
            content = value.get("content")
            if content is not None and type(content) is not str:
                waiting.append(content)


def _refuse_part(part: dict[str, Any], remote: bool) -> None:
    kind = part.get("type")
    if not _TENSORS.isdisjoint(part) or (isinstance(kind, str) and kind in _TENSORS):
        raise ForbiddenField(
            "Serialised tensors are not accepted: send the media itself, inline as a data: URL.",
            param="messages",
            code="serialised_media",
        )
    if not remote and _is_remote(part):
        raise ForbiddenField(
            "Media by URL is not fetched here: send it inline as a data: URL, "
            "or set `[request] allow_remote_images = true`.",
            param="messages",
            code="remote_media",
        )


_CONTENT_KEYS = ("messages", "input", "system", "query", "queries", "documents", "text_1", "text_2", "items")
_URL_KEYS = ("image_url", "video_url", "audio_url", "file_url")
_MEDIA_KEYS = (*_URL_KEYS, "source", "file")
_TENSORS = frozenset({"image_embeds", "audio_embeds", "video_embeds", "prompt_embeds", "image_pil"})
_MEDIA_NAMES = _TENSORS.union(_MEDIA_KEYS)


def _is_remote(part: dict[str, Any]) -> bool:
    """Whether a content part names media that the engine would have to fetch or open."""
    for key in _MEDIA_KEYS:
        value = part.get(key)
        url = value.get("url") if isinstance(value, dict) else value if key in _URL_KEYS else None
        if isinstance(url, str) and not url.startswith("data:"):
            return True
    return False


def refuse_stateful(fields: dict[str, Any]) -> None:
    """Refuse what needs stored responses. Raises: Unsupported, BadRequest."""
    for key in ("previous_response_id", "conversation"):
        if fields.get(key) is not None:
            raise Unsupported(
                f"`{key}` needs stored responses, which this gateway does not keep: send the whole input instead.",
                param=key,
            )
    if fields.get("background") is True and fields.get("store") is False:
        raise BadRequest(
            "A response in the background is stored: leave `store` out, or `background`.", param="store"
        )
