"""Structured logs: one event a line, a stable name and fields.

`log.info("worker_up", extra={"worker": "w0"})` becomes `{"at": ..., "level": "info", "event": "worker_up",
"worker": "w0"}`, or `12:00:00 info worker_up worker=w0` on a terminal. Values are escaped, so a line stays a line
whatever a client sent. Of an exception only its type and place are shown: messages may quote what was parsed.
"""

from __future__ import annotations

import logging
import sys
import time
import traceback
from typing import Final, Literal, TextIO

import orjson

from gateway.errors import LoomgateError

MAX_VALUE_CHARS: Final = 500
_FRAMES: Final = 12
_LINE_ENDS: Final = {0x85: "\\x85", 0x2028: "\\u2028", 0x2029: "\\u2029"}
"""What some readers take for the end of a line and JSON leaves as it is."""
_RECORD_FIELDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_QUOTABLE: Final = (OSError, LoomgateError, ImportError)
"""Exceptions whose messages never hold a client's text."""

log = logging.getLogger(__name__)


def configure(level: str, form: Literal["auto", "json", "text"], stream: TextIO | None = None) -> None:
    """Send all logs of this process to `stream` (stderr), in place of what was set up before."""
    out = stream if stream is not None else sys.stderr
    as_text = form == "text" or (form == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(TextFormatter() if as_text else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    set_level(level)
    for noisy in ("uvicorn", "httpx", "httpcore", "asyncio"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def set_level(level: str) -> None:
    """Change the level of a running process."""
    logging.getLogger().setLevel(level.upper())


def reloaded(changed: tuple[str, ...], needs_restart: tuple[str, ...]) -> None:
    """Say what a reload of the settings did, by the settings' names."""
    log.info("settings_reloaded", extra={"changed": ",".join(changed), "needs_restart": ",".join(needs_restart)})


class JsonFormatter(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        shown: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": _short(record.getMessage()),
            "logger": record.name,
        }
        shown |= {name: value for name, value in _fields(record).items() if name not in shown}
        return orjson.dumps(shown, option=orjson.OPT_NON_STR_KEYS).decode()


class TextFormatter(logging.Formatter):
    """For people: time, level, event, `name=value` pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        pairs = "".join(f" {name}={_quoted(value)}" for name, value in _fields(record).items())
        return f"{clock} {record.levelname.lower()} {_escaped(_short(record.getMessage()))}{pairs}"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    fields = {name: _plain(value) for name, value in vars(record).items() if name not in _RECORD_FIELDS}
    if record.exc_info and record.exc_info[1] is not None:
        fields |= _exception(record.exc_info[1])
    return fields


def _exception(error: BaseException) -> dict[str, object]:
    shown: dict[str, object] = {"error": type(error).__name__}
    if isinstance(error, _QUOTABLE):
        shown["message"] = _short(str(error))
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    shown["at_frames"] = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames))
    return shown


def _plain(value: object) -> object:
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if abs(value) < 1 << 53 else str(value)
    return _short(str(value))


def _short(text: str) -> str:
    kept = text if len(text) <= MAX_VALUE_CHARS else text[: MAX_VALUE_CHARS - 3] + "..."
    return kept.encode("utf-8", "backslashreplace").decode().translate(_LINE_ENDS)


def _quoted(value: object) -> str:
    text = str(value)
    return f'"{_escaped(text)}"' if not text or not text.isprintable() or set(' "=') & set(text) else text


def _escaped(text: str) -> str:
    text = text.replace('"', '\\"')
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
