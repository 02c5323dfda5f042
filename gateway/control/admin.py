"""The admin listener: metrics and workers, for operators and their tools.

Without an admin key it is bound to loopback, and then answers only requests addressed to loopback by name: a page
in the operator's browser cannot reach it through a DNS name that points here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Protocol

from fastapi import FastAPI, Path
from fastapi.responses import Response
from pydantic import AfterValidator, BaseModel, ConfigDict
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.auth import matches
from gateway.config import WORKER_KEY_ENV_PREFIX, masked
from gateway.control.errors import error_reply, json_reply, new_api
from gateway.errors import BadRequest, Conflict, LoomgateError, NotFound, Unauthenticated
from gateway.metrics import CONTENT_TYPE
from gateway.settings import Name, Settings, WorkerUrl, is_loopback

Document = Mapping[str, object]


class AdminPorts(Protocol):
    """What the admin routes need of the gateway."""

    def metrics(self) -> bytes:
        """The metrics page in Prometheus's text format."""

    def settings(self) -> Settings:
        """The settings in force."""

    def estimates(self) -> Document:
        """What was learned of models, workers and programs, and how far predictions were from what came."""

    async def list(self) -> Sequence[Document]:
        """The workers: name, url, state, models and load."""

    async def add(self, name: str | None, url: str, api_key_env: str | None) -> Document:
        """Start to watch a worker. Raises: ValueError if the name is in use."""

    async def drain(self, name: str) -> None:
        """No new calls for a worker. Raises: KeyError."""

    async def remove(self, name: str) -> None:
        """Forget a worker. Raises: KeyError."""


def _key_variable(name: str) -> str:
    if not name.startswith(WORKER_KEY_ENV_PREFIX) or not name.isascii() or not name.isidentifier():
        raise ValueError(f"over this API only variables named {WORKER_KEY_ENV_PREFIX}... can be used")
    return name


class NewWorker(BaseModel):
    """A worker to add. `api_key_env` is limited, or a caller could have any secret sent to any address."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    url: WorkerUrl
    name: Name | None = None
    api_key_env: Annotated[str, AfterValidator(_key_variable)] | None = None


class Guard:
    """Middleware: the admin key if there is one, else requests addressed to loopback only."""

    def __init__(self, app: ASGIApp, ports: AdminPorts) -> None:
        self._app = app
        self._ports = ports

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            await error_reply(refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> LoomgateError | None:
        key_hash = self._ports.settings().server.admin_key_hash
        if key_hash is not None:
            if matches(scope["headers"], key_hash):
                return None
            return Unauthenticated("The admin key is missing or wrong.")
        host = next((value.decode("latin-1") for name, value in scope["headers"] if name == b"host"), "")
        if host and not is_loopback(_without_port(host)):
            return BadRequest("Address the admin listener as localhost or by its IP address.", code="bad_host")
        return None


def admin_app(ports: AdminPorts) -> FastAPI:
    """The admin routes over `ports`."""
    api = new_api("loomgate admin")
    api.add_middleware(Guard, ports=ports)
    _add_reports(api, ports)
    _add_workers(api, ports)
    return api


def _add_reports(api: FastAPI, ports: AdminPorts) -> None:
    @api.get("/health")
    async def health() -> Response:
        return json_reply({"status": "ok"})

    @api.get("/metrics")
    async def metrics() -> Response:
        return Response(ports.metrics(), headers={"content-type": CONTENT_TYPE.decode()})

    @api.get("/estimates")
    async def estimates() -> Response:
        return json_reply(ports.estimates())

    @api.get("/config")
    async def config() -> Response:
        return json_reply(masked(ports.settings()))


def _add_workers(api: FastAPI, ports: AdminPorts) -> None:
    @api.get("/workers")
    async def list_workers() -> Response:
        return json_reply({"object": "list", "data": list(await ports.list())})

    @api.post("/workers")
    async def add(worker: NewWorker) -> Response:
        try:
            return json_reply(await ports.add(worker.name, worker.url, worker.api_key_env), 201)
        except ValueError as error:
            raise Conflict(str(error), code="worker_exists") from error

    @api.post("/workers/{name}/drain")
    async def drain(name: Annotated[str, Path()]) -> Response:
        try:
            await ports.drain(name)
        except KeyError:
            raise _unknown_worker(name) from None
        return json_reply({"name": name, "state": "draining"})

    @api.delete("/workers/{name}")
    async def remove(name: Annotated[str, Path()]) -> Response:
        try:
            await ports.remove(name)
        except KeyError:
            raise _unknown_worker(name) from None
        return json_reply({"name": name, "state": "removed"})


def _unknown_worker(name: str) -> NotFound:
    return NotFound(f"There is no worker {name!r}.", code="unknown_worker")


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
