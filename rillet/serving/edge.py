"""Around every request: its length and time are bounded, its outcome is counted."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillet.serving.figures import Figures
from rillet.serving.problems import problem
from stream.serve_settings import ServeSettings

__all__ = ["Edge"]

log = logging.getLogger(__name__)

UNKNOWN: Final = "unknown"
"""The route of a path that there is not: paths name users, and have no end."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Edge:
    """The outermost layer of the application.

    Parameters
    ----------
    app
        What is inside.
    serve
        ``max_body_bytes`` and ``client_s``.
    figures
        Where requests are counted.
    """

    def __init__(self, app: ASGIApp, serve: ServeSettings, figures: Figures) -> None:
        self._app, self._serve, self._figures = app, serve, figures

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass on what is none."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        self._figures.in_flight.inc()
        try:
            if self._is_too_long(scope):
                answer = problem(413, "too-large", self._too_long(), headers=_CLOSE)
                await answer(scope, receive, sending)
            else:
                await self._app(scope, self._bounded(receive), sending)
        finally:
            self._figures.in_flight.dec()
            self._note(scope, status, time.perf_counter() - began)

    def _is_too_long(self, scope: Scope) -> bool:
        """Tell whether a request says itself that it is too long."""
        for name, value in scope["headers"]:
            if name == b"content-length":
                return value.isdigit() and int(value) > self._serve.max_body_bytes
        return False

    def _too_long(self) -> str:
        return f"a request may have {self._serve.max_body_bytes:,} bytes"

    def _bounded(self, receive: Receive) -> Receive:
        """Return a receive that gives up on bodies that do not end."""
        left, deadline, ended = self._serve.max_body_bytes, 0.0, False

        async def receiving() -> Message:
            nonlocal left, deadline, ended
            if ended:  # what comes now is the end of the connection, which may take long
                return await receive()
            loop = asyncio.get_running_loop()
            deadline = deadline or loop.time() + self._serve.client_s
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                late = f"the request did not come within {self._serve.client_s:g} s"
                raise HTTPException(408, late, _CLOSE) from None
            left -= len(message.get("body", b""))
            ended = not message.get("more_body", False)
            if left < 0:
                raise HTTPException(413, self._too_long(), _CLOSE)
            return message

        return receiving

    def _note(self, scope: Scope, status: int, took_s: float) -> None:
        found = scope.get("route")
        route: str = getattr(found, "path_format", "") or getattr(found, "path", UNKNOWN)
        method = scope["method"] if scope["method"] in METHODS else "other"
        self._figures.note(method, route, status, took_s)
        if log.isEnabledFor(logging.DEBUG):
            log.debug("%s %s %d, %.1f ms", method, route, status, took_s * 1000)


_CLOSE: Final = {"Connection": "close"}
"""Nobody reads the rest: the connection is of no use any more."""
