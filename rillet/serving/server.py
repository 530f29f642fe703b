"""Listening: uvicorn with sockets of our own, bounds on slow clients, and a clean end."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable
from typing import ClassVar, Final

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from rillet.serving.guard import check_binding
from stream.errors import SettingsError
from stream.serve_settings import ServeSettings

__all__ = ["listen", "protocol", "serve", "url_of"]

log = logging.getLogger(__name__)

BACKLOG: Final = 2048
GRACE_S: Final = 10
"""How long requests may go on when the service is told to end."""

MAX_HEAD: Final = 64 * 1024
"""Bytes of a request's line and headers."""

IDLE_S: Final = 30
"""How long a connection is kept for the next request."""


def serve(app: FastAPI, settings: ServeSettings, ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM; requests that have begun are answered.

    Parameters
    ----------
    app
        What is served.
    settings
        Where, and for how many.
    ready
        Is told the URL as soon as requests are taken.

    Raises
    ------
    SettingsError
        There are no keys and the host is not loopback, or it cannot be listened on.
    """
    check_binding(settings)
    with listen(settings) as sock:
        config = uvicorn.Config(
            app,
            http=protocol(settings.client_s),
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=bool(settings.proxies),
            forwarded_allow_ips=list(settings.proxies),
            limit_concurrency=settings.max_connections,
            timeout_keep_alive=IDLE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
        for number in (signal.SIGINT, signal.SIGTERM):
            # Uvicorn handles them, and hands them on when it has ended: there is no more to do.
            signal.signal(number, lambda _number, _frame: None)
        _Server(config, ready).run([sock])


def listen(settings: ServeSettings) -> socket.socket:
    """Return a socket on which clients can connect.

    Raises
    ------
    SettingsError
        The address is not one of this machine, or another program listens there.
    """
    host = settings.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        message = f"cannot listen on {host}, port {settings.port}: {error.strerror or error}"
        raise SettingsError(message, "--port takes another one, 0 any that is free") from error


def url_of(sock: socket.socket) -> str:
    """Return where a browser on this machine finds what listens there."""
    host, port = sock.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - told, not bound
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class _Server(uvicorn.Server):
    """Says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started and sockets:
            self._ready(url_of(sockets[0]))


class _Patient(HttpToolsProtocol):
    """Waits :attr:`client_s` for the head of a request, and no longer.

    Uvicorn by itself would wait forever for a client that says nothing, or a letter an hour, and
    would keep a head of any length. So would it for one that was answered before his body had
    come, and sends it by and by; he has as long to end it.
    """

    client_s: ClassVar[float]
    _waiting: asyncio.TimerHandle | None = None
    _head = 0
    _in_body = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._waiting is not None and not self._in_body:
            self._head += len(data)
            if self._head > MAX_HEAD + len(data):  # what came before was still no whole head
                self._give_up()
                return
        super().data_received(data)
        self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._waiting is None:
            self._wait()

    def on_headers_complete(self) -> None:
        self._wait_no_more()
        self._in_body = True
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_body = False
        self._wait_no_more()
        super().on_message_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Wait no longer for what follows an answer: any byte has ended uvicorn's timer."""
        answered = self.cycle is not None and self.cycle.response_complete
        mine = self.transport.get_protocol() is self  # and not a web socket's by now
        timed = self._waiting or self.timeout_keep_alive_task
        if answered and mine and not timed and not self.transport.is_closing():
            self._wait()

    def _wait(self) -> None:
        self._head = 0
        self._waiting = self.loop.call_later(self.client_s, self._give_up)

    def _wait_no_more(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _give_up(self) -> None:
        self._waiting = None
        self.transport.close()


def protocol(client_s: float) -> type[asyncio.Protocol]:
    """Return a protocol that waits so many seconds for a client."""
    return type("Patient", (_Patient,), {"client_s": client_s})
