"""Bodies: parsed once, checked, spliced or written anew."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadRequest, ForbiddenField, TooLarge, Unsupported
from gateway.wire.request import BodyLimits, parse_request, upstream_body
from gateway.wire.routes import ROUTES

CHAT = ROUTES[b"/v1/chat/completions"]
LIMITS = BodyLimits()

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


def parse(body: object, limits: BodyLimits = LIMITS):
    return parse_request(CHAT, body if isinstance(body, bytes) else orjson.dumps(body), limits)


def test_untouched_body_travels_as_it_came() -> None:
    raw = b' {"model": "m", "messages" : [] }'
    assert upstream_body(parse(raw), {}, inject_usage=False) is raw


def test_our_keys_are_spliced_behind_the_brace() -> None:
    raw = b'{ "model": "m", "seed": 18446744073709551616000 }'
    body = upstream_body(parse(raw), {"priority": 7}, inject_usage=False)
    assert body == b'{"priority":7, "model": "m", "seed": 18446744073709551616000 }'


def test_splice_into_an_empty_object() -> None:
    assert upstream_body(parse(b"{}"), {"priority": 7}, inject_usage=False) == b'{"priority":7}'


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=6), json_values, max_size=5))
def test_spliced_or_rewritten_the_worker_reads_the_same(fields: dict[str, object]) -> None:
    fields = {k: v for k, v in fields.items() if k not in ("model", "n")}
    sent = orjson.loads(upstream_body(parse(fields), {"priority": 1}, inject_usage=False))
    assert sent == {**fields, "priority": 1}


@pytest.mark.parametrize("key", ["priority", "session_id", "cache_salt", "request_id", "workflow", "vllm_xargs"])
def test_a_clients_own_value_of_our_keys_never_travels(key: str) -> None:
    body = orjson.loads(upstream_body(parse({"model": "m", key: "theirs"}), {"priority": 3}, inject_usage=False))
    assert body == {"model": "m", "priority": 3}


def test_an_escaped_spelling_of_our_key_is_seen_through() -> None:
    body = upstream_body(parse(b'{"model":"m","\\u0070riority":-9}'), {"priority": 3}, inject_usage=False)
    assert orjson.loads(body) == {"model": "m", "priority": 3}


def test_a_duplicate_key_of_ours_cannot_win() -> None:
    body = upstream_body(parse(b'{"cache_salt":"a","model":"m","cache_salt":"b"}'), {"cache_salt": "s"}, False)
    assert body.count(b"cache_salt") == 1


def test_usage_is_asked_for_beside_the_clients_own_stream_options() -> None:
    request = parse({"model": "m", "stream": True, "stream_options": {"continuous_usage_stats": False}})
    assert orjson.loads(upstream_body(request, {}, inject_usage=True))["stream_options"] == {
        "continuous_usage_stats": False,
        "include_usage": True,
    }


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{", "invalid_json"),
        (b"[]", "invalid_json"),
        (b'"x"', "invalid_json"),
        (b'{"a": NaN}', "invalid_json"),
        (b'{"a": "\\ud800"}', "invalid_json"),
        (b'{"a": "\xff"}', "invalid_json"),
        (b'{"model": 3}', "bad_request"),
        (b'{"model": ""}', "bad_request"),
        (b'{"n": 0}', "bad_request"),
        (b'{"n": true}', "bad_request"),
        (b'{"n": 1000000}', "n_too_large"),
    ],
)
def test_malformed_bodies_name_the_fault(body: bytes, code: str) -> None:
    with pytest.raises(BadRequest) as caught:
        parse(body)
    assert caught.value.code == code


@pytest.mark.parametrize("depth", [129, 1500, 100_000])
def test_deep_json_is_refused_quickly(depth: int) -> None:
    with pytest.raises(TooLarge):
        parse(b'{"a":' + b"[" * depth + b"]" * depth + b"}")


DEEP: object = "x"
for _ in range(200):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [{"role": "user", "content": DEEP}]},
        {"messages": [{"role": DEEP, "content": "x"}]},
        {"messages": [{"role": "user", "content": "x", "name": DEEP}]},
        {"messages": [{"role": "user", "content": "x"}, DEEP]},
        {"messages": [{"role": "user", "content": "x"}], "stop": DEEP},
    ],
)
def test_deep_values_are_found_wherever_they_stand(body: dict[str, object]) -> None:
    with pytest.raises(TooLarge) as caught:
        parse(body)
    assert caught.value.code == "too_deep"


def test_many_shallow_messages_are_not_deep() -> None:
    assert parse({"messages": [{"role": "user", "content": "x"}] * 5000}).n == 1


@pytest.mark.parametrize(
    "body",
    [
        {"kv_transfer_params": {}},
        {"chat_template": "{{ x }}"},
        {"chat_template_kwargs": {"chat_template": "{{ x }}"}},
        {"media_io_kwargs": {}},
        {"prompt_embeds": "AAAA"},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/"}}]}
            ]
        },
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "file:///etc/passwd"}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "https://x"}}]}
            ]
        },
    ],
)
def test_forbidden_fields_are_refused(body: dict[str, object]) -> None:
    with pytest.raises(ForbiddenField):
        parse(body)


def test_inline_images_pass() -> None:
    part = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    assert parse({"messages": [{"role": "user", "content": [part]}]})


def test_integers_beyond_64_bits_are_refused_only_where_they_would_change() -> None:
    raw = b'{"seed": 18446744073709551616, "priority": 1}'
    with pytest.raises(BadRequest) as caught:
        upstream_body(parse(raw), {"priority": 2}, inject_usage=False)
    assert caught.value.code == "integer_too_wide"


@pytest.mark.parametrize("key", ["previous_response_id", "conversation"])
def test_stored_responses_are_unsupported(key: str) -> None:
    with pytest.raises(Unsupported, match=key):
        parse_request(ROUTES[b"/v1/responses"], orjson.dumps({"model": "m", key: "resp_1"}), LIMITS)


@pytest.mark.parametrize(("value", "expected"), [(5, 5), (-1, None), ("x", None), (None, None), (True, None)])
def test_odd_max_tokens_are_the_engines_to_judge(value: object, expected: int | None) -> None:
    assert parse({"max_tokens": value}).max_tokens == expected


MANY = {
    "messages": b'{"messages":[' + b",".join([b'{"role":"user","content":""}'] * 60_000) + b"]}",
    "lists": b'{"x":[' + b",".join([b"[]"] * 60_000) + b"]}",
    "integers": b'{"prompt":[' + b",".join([b"1"] * 1_100_000) + b"]}",
    "keys": b"{" + b",".join([b'"":1'] * 1_100_000) + b"}",
    "empty strings": b'{"input":[' + b",".join([b'""'] * 1_100_000) + b"]}",
    "quotes that are no JSON": b'{"x":' + b'",' * 2_500_000,
}


@pytest.mark.parametrize("raw", MANY.values(), ids=MANY)
def test_a_body_of_very_many_values_is_refused_before_it_is_parsed(
    raw: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.wire.request.orjson.loads", lambda raw: pytest.fail("parsed"))
    with pytest.raises(TooLarge) as caught:
        parse_request(CHAT, raw, BodyLimits())
    assert caught.value.code == "too_many_values"


def test_braces_and_commas_inside_of_strings_do_not_count() -> None:
    text = '{"a": [1, "\\"], "b": {}},\n' * 100_000
    raw = orjson.dumps({"messages": [{"role": "user", "content": text}]})
    assert parse_request(CHAT, raw, BodyLimits()).fields["messages"][0]["content"] == text


PARTS = {
    "image": {"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}},
    "bare image": {"image_url": "file:///etc/passwd"},
    "file": {"type": "input_file", "file_url": "https://x/"},
    "Anthropic image": {"type": "image", "source": {"type": "url", "url": "https://x/"}},
    "beside its text": {"role": "user", "content": "look", "image_url": "https://x/"},
    "inside a tool result": {"type": "tool_result", "content": [{"image_url": {"url": "https://x/"}}]},
    "tensor": {"type": "image_embeds", "image_embeds": "gASV"},
    "tensor by type": {"type": "prompt_embeds", "data": "gASV"},
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("key", ["messages", "documents", "system"])
def test_media_to_fetch_or_unpickle_is_refused_wherever_it_stands(part: dict, escaped: bool, key: str) -> None:
    raw = orjson.dumps({key: [{"role": "user", "content": [part]}]})
    raw = raw.replace(b"_", b"\\u005f") if escaped else raw
    with pytest.raises(ForbiddenField):
        parse_request(CHAT, raw, BodyLimits())


def test_inline_media_and_words_that_only_look_like_media_pass() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
        {"type": "text", "text": "_url"},
    ]
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {"image_url": "http://x", "source": "y"}}
    documents = [{"text": "a", "source": "wiki", "file": "a.txt"}]
    body = {"messages": [{"role": "user", "content": [*parts, call]}], "documents": documents}
    parse_request(CHAT, orjson.dumps(body), BodyLimits())


def test_a_models_name_is_bounded() -> None:
    with pytest.raises(BadRequest):
        parse_request(CHAT, orjson.dumps({"model": "m" * 1000}), BodyLimits())
