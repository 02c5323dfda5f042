"""Bodies that have another worker go on with a reply."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.variables.continuation import continued
from gateway.wire.routes import Shape

USER = {"role": "user", "content": "List files."}


def test_chat_goes_on_with_what_the_assistant_has_said() -> None:
    fields = {"model": "m", "messages": [USER], "max_tokens": 10, "temperature": 0, "tools": None}
    body = continued(Shape.CHAT, fields, '["a.py", "b', 4)

    assert body == {
        "model": "m",
        "messages": [USER, {"role": "assistant", "content": '["a.py", "b'}],
        "max_tokens": 6,
        "temperature": 0,
        "tools": None,
        "continue_final_message": True,
        "add_generation_prompt": False,
    }
    assert fields["messages"] == [USER]


def test_a_completion_goes_on_with_a_longer_prompt_and_at_least_one_token() -> None:
    body = continued(Shape.COMPLETION, {"prompt": "Files: ", "max_tokens": 2}, "[1, ", 3)

    assert body == {"prompt": "Files: [1, ", "max_tokens": 1}


@pytest.mark.parametrize(
    ("shape", "fields", "said"),
    [
        (Shape.CHAT, {"messages": [USER], "response_format": {"type": "json_object"}}, "["),
        (Shape.CHAT, {"messages": [USER], "tools": [{}]}, "["),
        (Shape.CHAT, {"messages": [USER], "logprobs": True}, "["),
        (Shape.CHAT, {"messages": [USER, {"role": "assistant", "content": "So:"}]}, "["),
        (Shape.CHAT, {"messages": [USER]}, " \n"),
        (Shape.COMPLETION, {"prompt": [1, 2]}, "["),
        (Shape.COMPLETION, {"prompt": "x", "echo": True}, "x["),
        (Shape.MESSAGES, {"messages": [USER]}, "["),
        (Shape.RESPONSES, {"input": "x"}, "["),
    ],
)
def test_what_cannot_be_gone_on_with(shape: Shape, fields: dict[str, Any], said: str) -> None:
    assert continued(shape, fields, said, 1) is None
