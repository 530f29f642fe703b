"""Errors as problem details (RFC 9457): every answer that is none of the wished ones is of them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from stream.errors import (
    BadEventError,
    BrokerError,
    NothingYetError,
    RefusedError,
    RilletError,
    StoreError,
)

__all__ = ["MEDIA_TYPE", "add_problems", "problem", "problem_of", "problem_of_http"]

log = logging.getLogger(__name__)

MEDIA_TYPE: Final = "application/problem+json"

WAIT_S: Final = 1
"""When to ask again while a server behind this one is away."""

_KINDS: Final[dict[type[RilletError], tuple[int, str]]] = {
    BadEventError: (422, "bad-event"),
    NothingYetError: (503, "nothing-yet"),
    StoreError: (503, "redis-away"),
    BrokerError: (503, "kafka-away"),
}

_PLAIN: Final = {
    400: "malformed",
    404: "not-found",
    405: "method-not-allowed",
    413: "too-large",
    422: "invalid",
}


def problem(
    status: int,
    kind: str,
    detail: str,
    *,
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return an answer that says what is wrong.

    Parameters
    ----------
    status
        The HTTP status, whose name is the title.
    kind
        In one word, for programs: the member ``kind``.
    detail
        For people.
    more
        Further members: ``mend``, ``errors``.
    headers
        Further headers.
    """
    body = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "kind": kind,
        **(more or {}),
    }
    return Response(msgspec.json.encode(body), status, headers, media_type=MEDIA_TYPE)


def problem_of(error: RilletError) -> Response:
    """Return the problem that one of our own errors is."""
    wait_s: float = WAIT_S
    if isinstance(error, RefusedError):
        status, kind, wait_s = error.status, error.kind, error.wait_s
    else:
        known = (found for one, found in _KINDS.items() if isinstance(error, one))
        status, kind = next(known, (500, "failed"))
    more: dict[str, Any] = {"mend": error.mend} if error.mend else {}
    if isinstance(error, BadEventError) and error.faults:
        more["errors"] = error.faults
    waiting = status in (429, 503) and wait_s > 0
    headers = {"Retry-After": str(max(1, round(wait_s)))} if waiting else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return problem(status, kind, str(error), more=more, headers=headers)


def add_problems(app: FastAPI) -> None:
    """Have an application answer every error with a problem."""
    app.add_exception_handler(RilletError, _ours)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


async def _ours(_: Request, error: Exception) -> Response:
    assert isinstance(error, RilletError)
    return problem_of(error)


def problem_of_http(error: HTTPException) -> Response:
    """Return the problem that an error of the framework's is."""
    kind = _PLAIN.get(error.status_code, "refused")
    return problem(error.status_code, kind, error.detail, headers=error.headers)


async def _http(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem_of_http(error)


async def _invalid(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = [_fault(one) for one in error.errors()]
    if any(one["type"] == "json_invalid" for one in error.errors()):
        return problem(400, "malformed", "the body is no JSON", more={"errors": found})
    first = (
        f"{found[0]['at']}: {found[0]['message']}" if found else "the request is not as documented"
    )
    return problem(422, "invalid", first, more={"errors": found})


def _fault(error: Mapping[str, Any]) -> dict[str, str]:
    """Return where and why a request is invalid; the value itself is not repeated."""
    place, *path = error["loc"]
    at = ".".join(map(str, path)) or f"the {place}"
    return {"in": str(place), "at": at, "message": str(error["msg"])}


async def _unexpected(request: Request, error: Exception) -> Response:
    route = getattr(request.scope.get("route"), "path", "an unknown path")
    log.error("%s %s failed", request.method, route, exc_info=error)
    detail = "this should not have happened; the service's log says more"
    return problem(500, "failed", detail)
