"""The gateway's error bodies for its FastAPI applications, whoever raised the error."""

from __future__ import annotations

import logging

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from gateway.errors import (
    BadRequest,
    GatewayFault,
    LoomgateError,
    MethodNotAllowed,
    NotFound,
    error_body,
    error_headers,
)

log = logging.getLogger(__name__)


def new_api(title: str) -> FastAPI:
    """A FastAPI application with our errors and without documentation routes."""
    api = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    api.add_exception_handler(LoomgateError, _known)
    api.add_exception_handler(RequestValidationError, _invalid)
    api.add_exception_handler(HTTPException, _from_framework)
    api.add_exception_handler(Exception, _unknown)
    return api


def json_reply(content: object, status: int = 200) -> Response:
    """A JSON response; values orjson does not know are a bug."""
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")


def error_reply(error: LoomgateError) -> Response:
    """One of our errors as a response."""
    headers = {name.decode(): value.decode() for name, value in error_headers(error)}
    return Response(error_body(error), status_code=error.status, headers=headers)


async def _known(request: Request, error: Exception) -> Response:
    assert isinstance(error, LoomgateError)
    return error_reply(error)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"][1:])
    message = str(first["msg"]).removeprefix("Value error, ")
    return error_reply(BadRequest(f"{where or 'body'}: {message}.", param=where or None))


async def _from_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return error_reply(
            MethodNotAllowed(f"This route does not take {request.method}.", (error.headers or {}).get("Allow", ""))
        )
    if error.status_code == 404:
        return error_reply(NotFound("There is no such route.", code="unknown_route"))
    return error_reply(BadRequest(str(error.detail)))


async def _unknown(request: Request, error: Exception) -> Response:
    log.error("api_failed", exc_info=error)
    return error_reply(GatewayFault("The gateway failed; its log says why."))
