"""The part of an OpenAI client that is used. The `openai` package's clients fit; it is not imported."""

from __future__ import annotations

from typing import Any, Protocol


class AnyClient(Protocol):
    """What both kinds of client have."""

    @property
    def chat(self) -> Any:
        """`chat.completions.create` and `chat.completions.retrieve`."""

    @property
    def base_url(self) -> Any:
        """Where the gateway is."""

    @property
    def get(self) -> Any:
        """A request of a path, with the client's key and retries."""

    @property
    def put(self) -> Any:
        """The same."""

    @property
    def post(self) -> Any:
        """The same."""


class AsyncClient(AnyClient, Protocol):
    """Shaped like `openai.AsyncOpenAI`."""

    @property
    def __aenter__(self) -> Any: ...


class SyncClient(AnyClient, Protocol):
    """Shaped like `openai.OpenAI`."""

    @property
    def __enter__(self) -> Any: ...
