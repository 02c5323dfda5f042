"""Every setting, its type, bounds and default: one frozen object, read once at the start.

Where the values come from (file, environment, flags) is `gateway.config`'s concern; here is only what they mean.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationInfo,
    field_validator,
    model_validator,
)

from gateway.schedule.settings import POLICIES


def split_address(text: str) -> tuple[str, int]:
    """Read `host:port` or `[v6]:port`. Raises: ValueError."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif ":" in host:
        raise ValueError("write an IPv6 address in brackets, such as [::1]:8080")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError("expected host:port, such as 127.0.0.1:8080")
    return host, int(port)


def join_address(host: str, port: str) -> str:
    """The inverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`. A name other than `localhost` is never trusted to be."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def worker_url(text: str) -> str:
    """Check and normalise a worker's base URL: no credentials, query or trailing `/v1`. Raises: ValueError."""
    if any(char <= " " or char == "\x7f" for char in text):
        raise ValueError("a URL holds no spaces or control characters")
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https"):
        raise ValueError("expected http:// or https://, such as http://127.0.0.1:8000")
    if parts.username is not None or parts.password is not None:
        raise ValueError("leave credentials out of the URL; name a variable with api_key_env")
    if not parts.hostname or parts.port == 0:
        raise ValueError("the URL names no host")
    if parts.query or parts.fragment:
        raise ValueError("give the base URL only, without query or fragment")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return f"{parts.scheme}://{parts.netloc}{path}"


def _address(text: str) -> str:
    split_address(text)
    return text


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
"""Safe as a metric label, a path segment and a log field."""
Address = Annotated[str, AfterValidator(_address)]
WorkerUrl = Annotated[str, AfterValidator(worker_url)]
EnvName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
KeyHash = Annotated[str, StringConstraints(pattern=r"^sha256:[0-9a-f]{64}$")]
Seconds = Annotated[float, Field(gt=0, le=7 * 86400, allow_inf_nan=False)]
Delay = Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1 << 40)]


class Section(BaseModel):
    """A group of settings: frozen, strict, without unknown keys."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", populate_by_name=True)


class Server(Section):
    """Where the gateway listens and who may reach it."""

    listen: Address = "127.0.0.1:8080"
    admin_listen: Address = "127.0.0.1:8081"
    admin_key_hash: KeyHash | None = None
    """With it the admin listener asks for this key and may bind beyond loopback."""
    insecure: bool = False
    """Serve beyond loopback without API keys."""
    trust_groups: Mapping[str, Name] = {}
    """Tenant to group: tenants of one group share prefix-cache entries. The default is a group each."""


class Store(Section):
    """The Redis behind sessions and variables."""

    url: str | None = None
    """None is a private redis-server child; `memory://` is volatile."""
    data_dir: str = ".loomgate/store"
    deadline_ms: Annotated[int, Field(ge=10, le=60_000)] = 250
    """Of every single store operation."""
    session_ttl_s: Annotated[int, Field(ge=60, le=365 * 86400)] = 86_400


class Hints(Section):
    """Whether hints act (`on`), are only understood and reported (`observe`), or are not read (`off`)."""

    mode: Literal["off", "observe", "on"] = "on"


class WorkerSettings(Section):
    """One engine in front of which the gateway stands."""

    name: Name
    url: WorkerUrl
    api_key_env: EnvName | None = None
    """The environment variable that holds the worker's own API key."""


class KeySettings(Section):
    """One API key: its owner and its hash (`loomgate keys new` prints both)."""

    tenant: Name
    hash: KeyHash


class Limits(Section):
    """Bounds on what one client may make the gateway hold."""

    body_bytes: Count = 32 << 20
    held_bytes: Count = 1 << 30
    """Of the bodies of all calls that arrive, wait and run."""
    header_bytes: Annotated[int, Field(ge=1024, le=16 << 20)] = 64 << 10
    """Of one request's whole head, request line included."""
    header_count: Annotated[int, Field(ge=8, le=10_000)] = 200
    json_depth: Annotated[int, Field(ge=4, le=1000)] = 128
    json_containers: Annotated[int, Field(ge=1000, le=10_000_000)] = 50_000
    """Objects and lists in a body; values of all kinds may be twenty times as many."""
    n: Count = 128
    queue_per_tenant: Count = 1000
    reply_bytes: Count = 64 << 20
    """Of a reply that has to be held whole."""
    connections: Count = 8192
    """Clients connected to the main listener at a time."""
    parked_per_tenant: Count = 10_000
    """Calls that wait for variables."""
    map_items: Count = 500
    """Of a list that a call is mapped over."""
    value_bytes: Annotated[int, Field(ge=1, le=64 << 20)] = 4 << 20
    """Of one variable."""


class Timeouts(Section):
    """Deadlines, in seconds."""

    connect_s: Seconds = 5
    first_byte_s: Seconds = 600
    idle_s: Seconds = 120
    """Between two pieces of a reply, and of a client that stops reading."""
    total_s: Seconds = 3600
    input_s: Seconds = 600
    """How long a call waits for variables that it lists."""
    comment_every_s: Seconds | None = None
    """Comments in streams that have not begun yet; None sends none."""
    drain_s: Seconds = 30
    client_header_s: Seconds = 30
    """For a request's head, and between two pieces of its body."""
    keep_alive_s: Seconds = 75


class Schedule(Section):
    """Names and parameters of the policies; `gateway/schedule/settings.py` says more of each."""

    order: Name = "shortest_remaining"
    group: Name = "prefix"
    place: Name = "sibling_aware"
    admit: Name = "found"
    share: Name = "weighted_service"
    pause: Name = "programs"
    begin_ratio: Annotated[float, Field(ge=0)] = 1.0
    """With `pause`: a program begins beside fewer calls than this times twice what its worker gains from."""
    tenant_weights: Mapping[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """How much of the workers is a tenant's while calls wait; 1 where nothing is said."""
    max_calls_per_worker: Count = 128
    """In flight per worker, over all replicas; with `found` at most."""
    default_kv_tokens: Count = 131_072
    """Tokens in flight for a worker that does not tell its KV capacity."""
    sticky_margin: Annotated[float, Field(ge=0, le=1)] = 0.5
    """A session leaves its worker when another's predicted cost is less by more than this part of it."""
    delay_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 2.0
    """What a second that a call's prompt costs each call beside it counts, of its own, where a call is placed."""
    group_window_s: Delay = 0.5
    """How much younger a call may be that goes early with its prefix group."""
    no_worker_grace_s: Delay = 10.0
    """How long a call waits for any worker of its model to come up."""
    probe_s: Delay = 5.0
    """How long a new worker of unknown speed may be measured while it idles; 0: not at all."""

    @field_validator(*POLICIES)
    @classmethod
    def _policy_exists(cls, name: str, field: ValidationInfo) -> str:
        known = POLICIES[field.field_name or ""]
        if name not in known:
            raise ValueError(f"should be one of {', '.join(sorted(known))}")
        return name


class Ahead(Section):
    """Prompts computed before their call can run, on workers that idle."""

    fill: bool = True
    """The text before the first missing input of a waiting call."""
    piecewise: bool = False
    """Go on with the value that its producer streams, piece by piece, while it does."""
    min_tokens: Count = 256
    """The fewest tokens, cached nowhere yet, that are worth it."""
    below_calls: Count = 1
    """Only on a worker with fewer calls in flight than this."""
    per_tenant: Count = 64
    """Waiting calls of a tenant that may ask for it at a time."""


class Request(Section):
    """What of a client's request travels to the engines."""

    allow_headers: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")], ...] = ()
    """Names beside the built-in allow-list."""
    allow_remote_images: bool = False
    cache_salt: Literal["tenant", "off"] = "tenant"


class Log(Section):
    """How the gateway reports."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"
    """`auto` is text on a terminal and JSON elsewhere."""


class Settings(Section):
    """All settings. `worker` and `key` are the file's table names for `workers` and `keys`."""

    server: Server = Server()
    store: Store = Store()
    hints: Hints = Hints()
    workers: tuple[WorkerSettings, ...] = Field(default=(), alias="worker")
    keys: tuple[KeySettings, ...] = Field(default=(), alias="key")
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    schedule: Schedule = Schedule()
    ahead: Ahead = Ahead()
    request: Request = Request()
    log: Log = Log()

    @model_validator(mode="after")
    def _names_are_unique(self) -> Settings:
        names = [worker.name for worker in self.workers]
        _refuse_repeats("worker", "name", names, limit=1)
        _refuse_repeats("key", "hash", [key.hash for key in self.keys], limit=1)
        _refuse_repeats("key", "tenant", [key.tenant for key in self.keys], limit=2)
        return self

    @model_validator(mode="after")
    def _strangers_need_keys(self) -> Settings:
        host, _ = split_address(self.server.listen)
        if not (self.keys or self.server.insecure or is_loopback(host)):
            raise BoundError(
                "server.listen",
                f"{self.server.listen} is reachable from other machines and there are no API keys",
                "run `loomgate keys new --tenant NAME` and add its lines, listen on 127.0.0.1, or pass --insecure",
            )
        admin_host, _ = split_address(self.server.admin_listen)
        if self.server.admin_key_hash is None and not is_loopback(admin_host):
            raise BoundError(
                "server.admin_listen",
                f"{self.server.admin_listen} is reachable from other machines and there is no admin key",
                "set server.admin_key_hash (`loomgate keys new --admin`), or listen on 127.0.0.1",
            )
        return self


class BoundError(ValueError):
    """A rule between settings is broken; names the setting to change and what to do."""

    def __init__(self, setting: str, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.setting = setting
        self.remedy = remedy


def _refuse_repeats(table: str, field: str, values: list[str], *, limit: int) -> None:
    for index, value in enumerate(values):
        if values[: index + 1].count(value) > limit:
            shown = "this hash" if field == "hash" else repr(value)
            raise BoundError(
                f"{table}[{index}].{field}",
                f"{shown} appears more than {'once' if limit == 1 else 'twice'}",
                "remove or rename one of them",
            )
