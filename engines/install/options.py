"""What the variables of `make up` say: PORT, MODEL, DEVICE, WORKERS. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_PORT = 8080


class BadOption(ValueError):
    """A variable's value cannot be used; the message names it and says what it takes."""


@dataclass(frozen=True, slots=True)
class Options:
    """One start's wishes."""

    port: int = DEFAULT_PORT
    model: str | None = None
    device: str = "auto"
    workers: tuple[str, ...] = ()
    """URLs to attach to; with any, no engine is installed or started."""


def from_environment(environ: Mapping[str, str]) -> Options:
    """Read the variables; an empty one counts as unset. Raises: BadOption."""
    return Options(
        port=_port(environ.get("PORT") or str(DEFAULT_PORT)),
        model=environ.get("MODEL") or None,
        device=_device(environ.get("DEVICE") or "auto"),
        workers=_urls(environ.get("WORKERS") or ""),
    )


def flags(options: Options) -> list[str]:
    """The same wishes as flags of `loomgate up`."""
    given = ["--port", str(options.port), "--device", options.device]
    given += ["--model", options.model] if options.model else []
    given += ["--workers", ",".join(options.workers)] if options.workers else []
    return given


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise BadOption(f"PORT={text}: a number from 1 to 65535")
    return int(text)


def _device(text: str) -> str:
    if text not in ("auto", "cpu", "cuda"):
        raise BadOption(f"DEVICE={text}: auto, cpu or cuda")
    return text


def _urls(text: str) -> tuple[str, ...]:
    urls = tuple(url.strip().rstrip("/") for url in text.split(",") if url.strip())
    for url in urls:
        if not url.startswith(("http://", "https://")):
            raise BadOption(f"WORKERS={url}: URLs such as http://10.0.0.5:8000, separated by commas")
    return urls
