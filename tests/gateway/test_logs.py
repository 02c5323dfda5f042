from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from gateway import logs
from gateway.errors import StoreUnavailable

log = logging.getLogger("loomgate.test")


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = handlers
    root.setLevel(level)


def lines(out: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_an_event_and_its_fields_are_one_json_object(out: io.StringIO) -> None:
    logs.configure("info", "json", out)
    log.info("worker_up", extra={"worker": "w0", "took_s": 1.5, "tries": 2, "first": True, "why": None})
    (line,) = lines(out)
    assert line.pop("at")
    assert line == {
        "level": "info",
        "event": "worker_up",
        "logger": "loomgate.test",
        "worker": "w0",
        "took_s": 1.5,
        "tries": 2,
        "first": True,
        "why": None,
    }


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_value_makes_a_second_line(out: io.StringIO, form: str) -> None:
    logs.configure("info", "json" if form == "json" else "text", out)
    evil = 'x"\n{"event":"forged"}\r\x1b[31m\u2028\x00\udcff'
    log.info("call_failed", extra={"session": evil})
    log.info("odd %s", evil)
    text = out.getvalue()
    assert text.count("\n") == len(text.splitlines()) == 2
    assert "\x1b" not in text


def test_a_field_cannot_pose_as_the_event(out: io.StringIO) -> None:
    logs.configure("info", "json", out)
    log.info("real", extra={"event": "forged", "level": "forged"})
    assert (lines(out)[0]["event"], lines(out)[0]["level"]) == ("real", "info")


def test_values_are_bounded_and_odd_ones_become_text(out: io.StringIO) -> None:
    logs.configure("info", "json", out)
    log.info("x", extra={"long": "a" * 100_000, "big": 1 << 80, "thing": {"a": 1}})
    (line,) = lines(out)
    assert len(str(line["long"])) == logs.MAX_VALUE_CHARS
    assert line["big"] == str(1 << 80)
    assert line["thing"] == "{'a': 1}"


def test_exceptions_show_type_and_place_but_no_foreign_text(out: io.StringIO) -> None:
    logs.configure("info", "json", out)
    for error in (ValueError("the prompt"), StoreUnavailable("redis is down")):
        try:
            raise error
        except Exception:
            log.exception("failed")
    unknown, ours = lines(out)
    assert unknown["error"] == "ValueError"
    assert "test_logs.py" in str(unknown["at_frames"])
    assert "the prompt" not in out.getvalue()
    assert ours["message"] == "redis is down"


def test_text_is_for_people(out: io.StringIO) -> None:
    logs.configure("info", "text", out)
    log.warning("worker_ejected", extra={"worker": "w0", "reason": "health check failed"})
    assert out.getvalue().rstrip().endswith('warning worker_ejected worker=w0 reason="health check failed"')


def test_the_level_can_change_while_running(out: io.StringIO) -> None:
    logs.configure("warning", "json", out)
    log.info("quiet")
    logs.set_level("debug")
    log.debug("loud")
    assert [line["event"] for line in lines(out)] == ["loud"]


def test_a_reload_is_told_by_names(out: io.StringIO) -> None:
    logs.configure("info", "json", out)
    logs.reloaded(("hints.mode",), ("store.url", "worker"))
    assert lines(out)[0]["needs_restart"] == "store.url,worker"
