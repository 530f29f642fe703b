"""Routes that let in who may, before anything of the request's body is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any, ClassVar

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from rillet.serving.service import service_of
from stream.errors import RefusedError

__all__ = ["GuardedRoute", "router_for"]

Handler = Callable[[Request], Coroutine[Any, Any, Response]]

JSON = (b"content-type", b"application/json")


class GuardedRoute(APIRoute):
    """A route for those who have a scope; it ends after ``serve.timeout_s``."""

    scope_needed: ClassVar[str] = "admin"

    def get_route_handler(self) -> Handler:
        """Return what answers a request."""
        inner, needed = super().get_route_handler(), self.scope_needed

        async def handle(request: Request) -> Response:
            service = service_of(request)
            address = request.client.host if request.client else ""
            caller = await service.guard.admit(request.method, request.headers, address, needed)
            request.state.caller = caller
            _demand_single(request)
            limit = service.settings.serve.timeout_s
            try:
                async with asyncio.timeout(limit):
                    return await inner(_as_json(request))
            except TimeoutError:
                late = f"there was no answer within {limit:g} s"
                raise RefusedError(503, "too-slow", late, wait_s=1) from None

        return handle


def _demand_single(request: Request) -> None:
    """Refuse a parameter that is given twice: which of them counts, nobody could tell."""
    names = [name for name, _ in request.query_params.multi_items()]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise RefusedError(422, "invalid", f"{twice}: is given more than once", "give it once")


def _as_json(request: Request) -> Request:
    """Take a body for JSON, whatever it is called: curl calls all that it posts a form."""
    if request.method in ("GET", "DELETE"):
        return request
    others = [pair for pair in request.scope["headers"] if pair[0] != b"content-type"]
    scope = {**request.scope, "headers": [*others, JSON]}
    return Request(scope, request.receive, request._send)


@lru_cache
def _route_class(scope: str) -> type[GuardedRoute]:
    return type(f"Guarded{scope.title()}", (GuardedRoute,), {"scope_needed": scope})


def router_for(scope: str, tag: str) -> APIRouter:
    """Return a router of whose routes each needs a scope, documented under a tag."""
    return APIRouter(route_class=_route_class(scope), tags=[tag])
