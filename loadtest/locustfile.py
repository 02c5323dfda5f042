"""The benchmark's mixes as locust users: plain calls, streams, and sessions of eight hinted calls.

    locust -f loadtest/locustfile.py --host http://127.0.0.1:8080 --headless -u 16 -r 16 -t 10s

`LOADTEST_MODEL` names the model (default: the mock's), `LOADTEST_SEED` repeats a run's bodies.
"""

import itertools
import json
import os
import random
import uuid

from locust import FastHttpUser, between, tag, task

from loadtest.mixes import CALLS_PER_SESSION, CHAT_PATH, MODEL, Mix, body_templates, hint_headers

_MODEL = os.environ.get("LOADTEST_MODEL", MODEL)
_SEED = int(os.environ.get("LOADTEST_SEED", "1"))
_RUN = f"locust-{uuid.uuid4().hex[:8]}"
_HEADERS = {"Content-Type": "application/json"}
_SESSIONS = itertools.count()
_NUMBERS = itertools.count()
_PLAIN = (Mix(300), Mix(4096), Mix(65536))
_STREAM = Mix(300, stream=True)
_TEMPLATES = {mix: body_templates(mix, _SEED) for mix in (*_PLAIN, _STREAM)}


class _MixUser(FastHttpUser):
    """Sends bodies of the benchmark's mixes; a stream without its end counts as failed."""

    abstract = True
    wait_time = between(0.0, 0.02)

    def on_start(self) -> None:
        """Seed this user's choices."""
        self.rng = random.Random(_SEED)

    def send(self, name: str, mix: Mix, hints: dict[str, str] | None = None) -> None:
        """One chat call, under `name` in locust's table."""
        body = self.rng.choice(_TEMPLATES[mix]).fill(next(_NUMBERS)).decode()
        if _MODEL != MODEL:
            body = json.dumps(json.loads(body) | {"model": _MODEL})
        headers = _HEADERS | (hints or {})
        with self.client.post(CHAT_PATH, data=body, headers=headers, name=name, catch_response=True) as reply:
            if reply.status_code != 200:
                reply.failure(f"status {reply.status_code}")
            elif mix.stream and b"data: [DONE]" not in (reply.content or b""):
                reply.failure("the stream broke off")


class PlainUser(_MixUser):
    """Single calls without hints: short ones mostly, 4 KB and 64 KB conversations, and streams."""

    weight = 2

    @tag("plain")
    @task(6)
    def short(self) -> None:
        """300 bytes."""
        self.send("300 B", _PLAIN[0])

    @tag("plain")
    @task(3)
    def chat(self) -> None:
        """4 KB, several turns."""
        self.send("4 KB", _PLAIN[1])

    @tag("plain")
    @task(1)
    def long_chat(self) -> None:
        """64 KB, many turns."""
        self.send("64 KB", _PLAIN[2])

    @tag("stream")
    @task(3)
    def stream(self) -> None:
        """64 events."""
        self.send("stream", _STREAM)


class SessionUser(_MixUser):
    """Programs of eight calls, one after the other, with session, name, step and outputs."""

    weight = 1

    @tag("hinted")
    @task
    def session(self) -> None:
        """One program, its last call streamed."""
        number = next(_SESSIONS)
        for step in range(CALLS_PER_SESSION):
            mix = _STREAM if step == CALLS_PER_SESSION - 1 else _PLAIN[0]
            name = "hinted stream" if mix.stream else "hinted 300 B"
            self.send(name, mix, dict(hint_headers(_RUN, number, step)))
