"""Who gets into the console: browsers of this machine, or holders of a key."""

from __future__ import annotations

import secrets
import time
from html import escape
from typing import Final, NamedTuple

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rillet.console.style import login_page
from rillet.serving.guard import ALL, Caller, Guard
from rillet.serving.problems import problem, problem_of_http
from stream.errors import RefusedError

__all__ = ["LOGGED_OUT", "Admission", "Gate", "admission_of"]

COOKIE: Final = "rillet_console"
LIFE_S: Final = 12 * 3600
MOST: Final = 1000
"""Sessions that are remembered; the oldest gives way."""

MAX_KEY: Final = 200

LOGGED_OUT: Final = "You are not logged in for this any more: load the page anew."

POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
)
"""Nothing is fetched from elsewhere; Vue compiles templates, which takes eval."""

HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class _Session(NamedTuple):
    caller: Caller
    until: float


class Gate:
    """In front of the console's pages and of its web socket.

    A page of another site can open a web socket to this machine, and send the browser's cookies
    along: so the origin is looked at, and not only the cookie.

    Parameters
    ----------
    app
        The console.
    guard
        Knows the keys.
    """

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app, self._guard = app, guard
        self._sessions: dict[str, _Session] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what may come in."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers, send = Headers(scope=scope), _with_headers(send)
        method = scope["method"] if scope["type"] == "http" else "POST"
        try:
            self._guard.check_browser(method, headers)
            admission = Admission(self, Request({**scope, "type": "http"}).cookies.get(COOKIE, ""))
        except RefusedError as error:
            await _refuse(error, scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if scope["type"] == "http" and path in ("/login", "/logout") and not self._guard.open:
            await (await self._login(scope, receive, path))(scope, receive, send)
        elif admission.caller is None:
            await self._turn_away(scope, receive, send)
        else:
            scope.setdefault("state", {})["admission"] = admission
            if scope["type"] == "websocket":
                receive = _while_admitted(admission, receive)
            await self._app(scope, receive, send)

    def caller(self, token: str) -> Caller | None:
        """Return whose session a token is of, None where that is over."""
        if self._guard.open:
            return Caller("console", ALL)
        session = self._sessions.get(token)
        if session is None or session.until < time.monotonic():
            self._sessions.pop(token, None)
            return None
        return session.caller

    async def _turn_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _refuse(RefusedError(403, "no-key", "log in first"), scope, receive, send)
            return
        root = scope.get("root_path", "")
        await RedirectResponse(f"{root}/login", 303)(scope, receive, send)

    async def _login(self, scope: Scope, receive: Receive, path: str) -> Response:
        request, root = Request(scope, receive), scope.get("root_path", "")
        if path == "/logout":
            self._sessions.pop(request.cookies.get(COOKIE, ""), None)
            answer: Response = RedirectResponse(f"{root}/login", 303)
            answer.delete_cookie(COOKIE, path=root or "/")
            return answer
        if request.method != "POST":
            return HTMLResponse(login_page())
        try:
            async with request.form(max_files=0, max_fields=1) as form:
                key = str(form.get("key", "")).strip()[:MAX_KEY]
        except HTTPException as error:  # nobody above makes an answer of it
            return problem_of_http(error)
        address = request.client.host if request.client else ""
        host = {"host": request.headers.get("host", ""), "x-api-key": key}
        try:
            caller = await self._guard.admit("GET", Headers(host), address, "read")
        except RefusedError as error:
            return HTMLResponse(login_page(escape(str(error))), error.status)
        answer = RedirectResponse(f"{root}/", 303)
        answer.set_cookie(
            COOKIE,
            self._remember(caller),
            max_age=LIFE_S,
            path=root or "/",
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return answer

    def _remember(self, caller: Caller) -> str:
        token = secrets.token_urlsafe(32)
        self._sessions[token] = _Session(caller, time.monotonic() + LIFE_S)
        for oldest in list(self._sessions)[:-MOST]:
            del self._sessions[oldest]
        return token


class Admission:
    """What was shown at the gate; a page keeps it, and asks again before it does anything.

    Parameters
    ----------
    gate
        Knows the sessions.
    token
        That of the session; it may end at any time.
    """

    def __init__(self, gate: Gate, token: str) -> None:
        self._gate, self._token = gate, token

    @property
    def caller(self) -> Caller | None:
        """Who it is, None where he is not logged in (any more)."""
        return self._gate.caller(self._token)

    def may(self, scope: str) -> bool:
        """Tell whether something may be done now."""
        caller = self.caller
        return caller is not None and scope in caller.scopes


def admission_of(request: Request) -> Admission:
    """Return what who has opened a page has shown."""
    found: Admission = request.scope["state"]["admission"]
    return found


def _while_admitted(admission: Admission, receive: Receive) -> Receive:
    """Return a receive that takes a web socket for closed once the session is over."""

    async def receiving() -> Message:
        message = await receive()
        if admission.caller is None:
            return {"type": "websocket.disconnect", "code": 1008}
        return message

    return receiving


async def _refuse(error: RefusedError, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": str(error)[:120]})
        return
    await problem(error.status, error.kind, str(error))(scope, receive, send)


def _with_headers(send: Send) -> Send:
    """Return a send that adds to pages what browsers are to keep to."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if headers.get("content-type", "").startswith("text/html"):
                headers.update(HEADERS)
        await send(message)

    return sending
