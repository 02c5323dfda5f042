"""The table of attacks: requests that nobody should send, as bytes, and the answer that each must get."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gateway.auth import hash_key, new_key

ACME, EVIL = new_key(), new_key()
KEYS = [{"tenant": "acme", "hash": hash_key(ACME)}, {"tenant": "evil", "hash": hash_key(EVIL)}]
BODY = b'{"model":"simulated","messages":[{"role":"user","content":"hi"}]}'
MIB = b"x" * (1 << 20)


@dataclass(frozen=True, eq=False)
class Attack:
    """What is sent, and the answer to expect. `says` is part of the error's message, or of the notes of a 200."""

    name: str
    status: int
    says: str
    raw: bytes
    more: Iterable[bytes] = ()
    """Sent after `raw`, as far as the gateway listens."""


def request(
    path: str = "/v1/chat/completions",
    body: bytes = BODY,
    *headers: bytes,
    method: str = "POST",
    key: str | None = EVIL,
    host: bytes | None = b"host: gateway",
    version: bytes = b"1.1",
    length: bytes | None = b"",
) -> bytes:
    """A request's bytes. `length` replaces the true content length; None leaves it out."""
    lines = [b"%b %b HTTP/%b" % (method.encode(), path.encode("latin-1"), version), b"connection: close", *headers]
    if host is not None:
        lines.append(host)
    if key is not None:
        lines.append(b"authorization: Bearer " + key.encode())
    if length is not None:
        lines.append(b"content-length: " + (length or b"%d" % len(body)))
    return b"\r\n".join([*lines, b"", body])


def with_fields(text: str) -> bytes:
    return BODY[:-1] + b"," + text.encode("utf-8", "surrogatepass") + b"}"


def hint(*headers: bytes) -> bytes:
    return request("/v1/chat/completions", BODY, *headers)


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n", head: bytes = b"transfer-encoding: chunked") -> bytes:
    framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return request("/v1/chat/completions", framed + end, head, length=None)


def nested(depth: int, opened: bytes = b"[", closed: bytes = b"]") -> bytes:
    return b'{"model":"simulated","x":' + opened * depth + closed * depth + b"}"


def many(item: bytes, count: int) -> bytes:
    return b'{"model":"simulated","messages":[' + b",".join([item] * count) + b"]}"


def media(part: str) -> bytes:
    content = f'{{"role":"user","content":[{part}]}}'.encode()
    return request(body=b'{"model":"simulated","messages":[' + content + b"]}")


FORBIDDEN = ("kv_transfer_params", "chat_template", "media_io_kwargs", "mm_processor_kwargs", "prompt_embeds")
ONE_CHUNK = b"%x\r\n%b\r\n" % (len(BODY), BODY)
SESSIONS = "/v1/workflow/sessions/"

BODIES = [
    Attack("no JSON", 400, "not valid JSON", request(body=b"{")),
    Attack("empty body", 400, "not valid JSON", request(body=b"")),
    Attack("no body at all", 400, "not valid JSON", request(body=b"", length=None)),
    Attack("trailing garbage", 400, "not valid JSON", request(body=BODY + b"}")),
    Attack("two documents", 400, "not valid JSON", request(body=BODY + BODY)),
    Attack("a list", 400, "must be a JSON object", request(body=b"[1]")),
    Attack("a number", 400, "must be a JSON object", request(body=b"1")),
    Attack("NaN", 400, "not valid JSON", request(body=with_fields('"temperature":NaN'))),
    Attack("bad UTF-8", 400, "not valid JSON", request(body=BODY.replace(b"hi", b"\xff\xfe"))),
    Attack("overlong UTF-8", 400, "not valid JSON", request(body=BODY.replace(b"hi", b"\xc0\xaf"))),
    Attack("UTF-16", 400, "not valid JSON", request(body=BODY.decode().encode("utf-16"))),
    Attack("lone surrogate", 400, "not valid JSON", request(body=BODY.replace(b"hi", b"\\ud800"))),
    Attack("100k deep lists", 413, "json_containers", request(body=nested(100_000))),
    Attack("10k deep lists", 413, "deeper than 128", request(body=nested(10_000))),
    Attack("100k deep objects", 413, "json_containers", request(body=nested(100_000, b'{"":', b"}"))),
    Attack("129 deep", 413, "deeper than 128", request(body=nested(129))),
    Attack("1M messages", 413, "json_containers", request(body=many(b'{"role":"user","content":""}', 1_000_000))),
    Attack("10M empty lists", 413, "json_containers", request(body=many(b"[]", 10_000_000))),
    Attack("100 MB, announced", 413, "[limits] body_bytes", request(body=b"", length=b"104857600"), [MIB] * 100),
    Attack(
        "100 MB, in chunks",
        413,
        "[limits] body_bytes",
        chunked(end=b""),
        [b"100000\r\n%b\r\n" % MIB] * 100,
    ),
    Attack("a length of 5000 digits", 413, "[limits] body_bytes", request(length=b"%05000d" % len(BODY))),
    Attack("a body that stops", 408, "did not arrive in time", request(length=b"1000")),
    Attack("a chunk that stops", 408, "did not arrive in time", chunked(BODY, end=b"5\r\nab")),
]
FIELDS = [
    Attack("empty model", 400, "`model` must be", request(body=b'{"model":"","messages":[]}')),
    Attack("unknown model", 404, "GET /v1/models", request(body=BODY.replace(b"simulated", b"gpt-9"))),
    Attack("model is a list", 400, "`model` must be", request(body=b'{"model":["simulated"]}')),
    Attack("model of 1 MB", 400, "`model` is longer", request(body=b'{"model":"%b"}' % MIB)),
    Attack("negative max_tokens", 400, "at least 1", request(body=with_fields('"max_tokens":-1'))),
    Attack("huge max_tokens", 200, "", request(body=with_fields('"max_tokens":9223372036854775807'))),
    Attack("max_tokens as text", 400, "at least 1", request(body=with_fields('"max_tokens":"many"'))),
    Attack("n huge", 400, "at most 128", request(body=with_fields('"n":1000000'))),
    Attack("n negative", 400, "positive integer", request(body=with_fields('"n":-1'))),
    Attack("n is true", 400, "positive integer", request(body=with_fields('"n":true'))),
    Attack("integer beyond 64 bits", 400, "64 bits", request(body=with_fields(f'"priority":1,"seed":{10**30}'))),
    *(Attack(key, 400, f"`{key}`", request(body=with_fields(f'"{key}":{{"a":1}}'))) for key in FORBIDDEN),
    Attack("escaped key", 400, "`chat_template`", request(body=with_fields('"chat\\u005ftemplate":"x"'))),
    Attack(
        "template by kwargs",
        400,
        "may not set the template",
        request(body=with_fields('"chat_template_kwargs":{"chat_template":"x"}')),
    ),
    Attack("image by URL", 400, "data: URL", media('{"image_url":{"url":"http://169.254.169.254/"}}')),
    Attack("image by file", 400, "data: URL", media('{"type":"image_url","image_url":"file:///etc/passwd"}')),
    Attack("image in a tool result", 400, "data: URL", media('{"content":[{"image_url":{"url":"ftp://x"}}]}')),
    Attack("pickled tensor", 400, "Serialised", media('{"type":"image_embeds","image_embeds":"gASV"}')),
    Attack(
        "stored response",
        501,
        "send the whole input",
        request("/v1/responses", b'{"model":"simulated","input":"x","previous_response_id":"r"}'),
    ),
]
HINTS = [
    Attack("session empty", 200, "reason=empty", hint(b"x-workflow-session:")),
    Attack("session of 256 bytes", 200, "reason=too-long", hint(b"x-workflow-session: " + b"s" * 256)),
    Attack("session of 10 KB", 200, "reason=too-long", hint(b"x-workflow-session: " + b"s" * 10_000)),
    Attack("session not ASCII", 200, "reason=not-ascii", hint(b"x-workflow-session: \xc3\xa9\xff")),
    Attack("two sessions", 200, "reason=repeated", hint(b"x-workflow-session: a", b"x-workflow-session: b")),
    Attack(
        "line end in a session",
        200,
        "reason=control-character",
        request(body=with_fields('"workflow":{"session":"a\\r\\nx-forged: 1"}')),
    ),
    Attack(
        "line end in a foreign session",
        200,
        "ignored",
        request(body=with_fields('"metadata":{"session_id":"a\\r\\nx-forged: 1\\u0000"}')),
    ),
    Attack(
        "session is an object",
        200,
        "reason=not-text",
        request(body=with_fields('"workflow":{"session":{"a":1}}')),
    ),
    Attack("deadline negative", 200, "ignored;x-workflow-deadline-ms", hint(b"x-workflow-deadline-ms: -1")),
    Attack("deadline infinite", 200, "ignored;x-workflow-deadline-ms", hint(b"x-workflow-deadline-ms: 1e999")),
    Attack("tokens of 60 digits", 200, "ignored", hint(b"x-workflow-expected-tokens: " + b"9" * 60)),
    Attack("objective unknown", 200, "reason=unknown-value", hint(b"x-workflow-objective: fastest")),
    Attack("final unreadable", 200, "reason=not-a-boolean", hint(b"x-workflow-final: perhaps")),
    Attack("header misspelt", 200, "did-you-mean=x-workflow-session", hint(b"x-workflow-sesion: a")),
    Attack("150 unknown hints", 200, "unknown-header", hint(*(b"x-workflow-q%d: 1" % i for i in range(150)))),
    Attack("broken traceparent", 200, "ignored;traceparent", hint(b"traceparent: 00-zz-zz-zz")),
    Attack("inputs without session", 400, "x-workflow-session: run-42", hint(b"x-workflow-inputs: plan")),
    Attack(
        "inputs unreadable",
        400,
        "Send instead: x-workflow-inputs: ",
        hint(b"x-workflow-session: s", b"x-workflow-inputs: pl{an"),
    ),
    Attack(
        "outputs twice",
        400,
        "named twice",
        hint(b"x-workflow-session: s", b"x-workflow-outputs: a, a"),
    ),
    Attack(
        "2000 inputs",
        400,
        "Send instead",
        hint(b"x-workflow-session: s", b"x-workflow-inputs: " + b",".join(b"a%d" % i for i in range(2000))),
    ),
    Attack(
        "mode unknown",
        400,
        "x-workflow-mode: deferred",
        hint(b"x-workflow-session: s", b"x-workflow-mode: defered"),
    ),
    Attack("workflow is a list", 400, "not an object", request(body=with_fields('"workflow":[]'))),
]
SMUGGLING = [
    Attack(
        "both framings",
        400,
        "Transfer-Encoding",
        chunked(BODY, head=b"transfer-encoding: chunked\r\ncontent-length: 4"),
    ),
    Attack("two lengths", 400, "", request("/tokenize", BODY, b"content-length: 1")),
    Attack("the same length twice", 400, "", request("/tokenize", b"a", b"content-length: 1")),
    Attack("signed length", 400, "not valid HTTP", request(length=b"+65")),
    Attack("folded header", 400, "not valid HTTP", hint(b"a: b\r\n c: d")),
    Attack("bare line feeds", 400, "not valid HTTP", request().replace(b"\r\n", b"\n")),
    Attack("a line feed in a value", 400, "not valid HTTP", hint(b"a: b\nc: d")),
    Attack("a carriage return in a value", 400, "not valid HTTP", hint(b"a: b\rc: d")),
    Attack("NUL in a value", 400, "not valid HTTP", hint(b"a: b\0c")),
    Attack("space before the colon", 400, "not valid HTTP", hint(b"content-length : 5")),
    Attack(
        "chunked twice", 400, "", chunked(BODY, head=b"transfer-encoding: chunked\r\ntransfer-encoding: chunked")
    ),
    Attack("chunked, then identity", 400, "", chunked(BODY, head=b"transfer-encoding: chunked, identity")),
    Attack("obscured chunked", 400, "", chunked(BODY, head=b"transfer-encoding: \x0bchunked")),
    Attack("chunk size of no number", 400, "not valid HTTP", chunked(end=b"zz\r\n\r\n")),
    Attack("chunk size that overflows", 400, "not valid HTTP", chunked(end=b"fffffffffffffffff\r\n\r\n")),
    Attack("endless chunk extension", 400, "chunk extensions", chunked(end=b"1;"), [MIB] * 20),
    Attack("endless trailer", 400, "trailers", chunked(BODY, end=b"0\r\nx: "), [MIB] * 20),
    Attack("10k trailers", 400, "trailers", chunked(BODY, end=b"0\r\n"), [b"a: %b\r\n" % MIB[:90]] * 10_000),
    Attack("10k headers", 431, "more than 200 headers", hint(*(b"h%d: v" % i for i in range(10_000)))),
    Attack("a header of 1 MB", 431, "65536 bytes", hint(b"a: " + MIB)),
    Attack("an endless header", 431, "65536 bytes", b"GET / HTTP/1.1\r\na: ", [MIB] * 20),
    Attack("a target of 1 MB", 431, "65536 bytes", request("/" + "a" * (1 << 20))),
    Attack("a head that stops", 408, "did not arrive in time", b"POST / HTTP/1.1\r\nhost:"),
]
TARGETS = [
    Attack("encoded slash", 404, "no route", request("/v1%2Fchat/completions")),
    Attack("double slash", 404, "no route", request("//v1/chat/completions")),
    Attack("inner double slash", 404, "no route", request("/v1//chat/completions")),
    Attack("encoded dots", 404, "no route", request("/v1/x/%2e%2e/chat/completions")),
    Attack("dots", 404, "no route", request("/v1/../v1/chat/completions")),
    Attack("other case", 404, "no route", request("/V1/Chat/Completions")),
    Attack("slash at the end", 404, "no route", request("/v1/chat/completions/")),
    Attack("backslash", 404, "no route", request("/v1\\chat/completions")),
    Attack("NUL, encoded", 404, "no route", request("/v1/chat/completions%00")),
    Attack("the admin's metrics", 404, "no route", request("/metrics", b"", method="GET")),
    Attack("the admin's workers", 404, "no route", request("/workers", b'{"url":"http://evil"}')),
    Attack("the engine's own routes", 404, "no route", request("/v1/load_lora_adapter")),
    Attack("open path as a prefix", 404, "no route", request("/health/../v1/models", b"", method="GET", key=None)),
    Attack("absolute target", 401, "No API key", request("http://evil/v1/models", b"", method="GET", key=None)),
    Attack("fragment", 401, "No API key", request("/v1/models#/health", b"", method="GET", key=None)),
    Attack("absolute target, no path", 400, "not a path", request("http://evil", b"", method="GET")),
    Attack("another tenant's session", 404, "no session", request(SESSIONS + "theirs", b"", method="GET")),
    Attack(
        "ending another tenant's session", 404, "no session", request(SESSIONS + "theirs", b"", method="DELETE")
    ),
    Attack(
        "another tenant's session by a path",
        404,
        "no session",
        request(SESSIONS + "..%2facme%2ftheirs", b"", method="GET"),
    ),
    Attack("a session's name of 300 bytes", 400, "255 bytes", request(SESSIONS + "s" * 300, b"", method="GET")),
    Attack("a session's name with a NUL", 400, "control", request(SESSIONS + "a%00b", b"", method="GET")),
    Attack("a session's name, not UTF-8", 400, "not UTF-8", request(SESSIONS + "%ff", b"", method="GET")),
    Attack("a cursor of no sense", 400, "cursor", request(SESSIONS[:-1] + "?after=x%27", b"", method="GET")),
    Attack("a page of a million", 400, "limit", request(SESSIONS[:-1] + "?limit=1000000", b"", method="GET")),
]
PROTOCOL = [
    Attack("no key", 401, "Authorization: Bearer", request(key=None)),
    Attack("wrong key", 401, "Unknown API key", request(key="lg_wrong")),
    Attack("the start of a key", 401, "Unknown API key", request(key=ACME[:20])),
    Attack("key of 60 KB", 401, "Unknown API key", request(key="k" * 60_000)),
    Attack("two keys", 401, "more than one", request("/tokenize", BODY, b"x-api-key: " + ACME.encode())),
    Attack("Host with a path", 400, "not a host", request(host=b"host: x/../@evil")),
    Attack("Host with a space", 400, "not a host", request(host=b"host: a b")),
    Attack("two Hosts", 400, "exactly one Host", request(host=b"host: a\r\nhost: b")),
    Attack("no Host", 400, "exactly one Host", request(host=None)),
    Attack("a stranger's Host", 200, "", request(host=b"host: evil.example:1")),
    Attack("HTTP/1.0", 200, "", request(host=None, version=b"1.0")),
    Attack("HTTP/2 by force", 400, "HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    Attack("HTTP/0.9", 505, "Speak HTTP/1.1", b"GET /v1/models\r\n\r\n"),
    Attack("TLS on a plain port", 400, "", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64),
    Attack("unknown method", 400, "Unknown HTTP method", request(method="FROB")),
    Attack("HEAD", 405, "", request(method="HEAD", body=b"")),
    Attack("OPTIONS", 405, "takes POST only", request(method="OPTIONS", body=b"")),
    Attack("TRACE", 405, "takes POST only", request(method="TRACE", body=b"")),
    Attack("CONNECT", 400, "not a path", request("evil:443", b"", method="CONNECT")),
    Attack(
        "websocket",
        405,
        "takes POST only",
        request(
            "/v1/chat/completions",
            b"",
            b"upgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nsec-websocket-key: AAAA",
            method="GET",
        ),
    ),
    Attack("a body cut off by the client", 0, "", request(length=b"100"), [b""]),
]
TABLE = [*BODIES, *FIELDS, *HINTS, *SMUGGLING, *TARGETS, *PROTOCOL]
