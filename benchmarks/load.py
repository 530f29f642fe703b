"""A load of HTTP requests: so many clients, each of which asks again when it was answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import uvloop

from stream.errors import RilletError

__all__ = ["Loaded", "load", "post"]

END: Final = b"\r\n\r\n"
WARM_S: Final = 0.5
"""Until all have connected, and been answered for the first time."""

LENGTH: Final = b"content-length: "


def post(path: str, body: bytes) -> bytes:
    """Return a request as it goes over the wire."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return head.encode() + f"Content-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass
class Loaded:
    """What was measured.

    Attributes
    ----------
    seconds
        How long it took in all, after the warm-up.
    took_s
        Of each request after it, from its sending to the end of its answer.
    answered
        Requests in all, those of the warm-up too.
    failed
        Answers with another status than 200.
    """

    seconds: float = 0.0
    took_s: list[float] = field(default_factory=list)
    answered: int = 0
    failed: int = 0


class _Client(asyncio.Protocol):
    """One connection; asks until the time is up."""

    def __init__(self, requests: Iterator[bytes], span: tuple[float, float], found: Loaded) -> None:
        self._requests, self._found = requests, found
        self._from, self._until = span
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._got, self._length, self._began = b"", -1, 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._ask()

    def _ask(self) -> None:
        self._got, self._length, self._began = b"", -1, time.perf_counter()
        self._transport.write(next(self._requests))

    def data_received(self, data: bytes) -> None:
        self._got += data
        if self._length < 0:
            end = self._got.find(END)
            if end < 0:
                return
            head = self._got[:end].lower()
            at = head.index(LENGTH) + len(LENGTH)
            self._length = end + len(END) + int(head[at : at + 12].partition(b"\r")[0])
            self._found.failed += not head.startswith(b"http/1.1 200")
        if len(self._got) < self._length:
            return
        now = time.perf_counter()
        self._found.answered += 1
        if self._began >= self._from:
            self._found.took_s.append(now - self._began)
        if now < self._until:
            self._ask()
        else:
            self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.done.done():
            return
        if exc is None and len(self._got) >= self._length > 0:
            self.done.set_result(None)
        else:
            self.done.set_exception(RilletError(f"the service hung up: {exc}"))


def load(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Loaded:
    """Ask a service on this machine; the requests come again and again, in their order."""
    return uvloop.run(_load(port, requests, clients, seconds))


async def _load(port: int, requests: Sequence[bytes], clients: int, seconds: float) -> Loaded:
    loop, found, endless = asyncio.get_running_loop(), Loaded(), itertools.cycle(requests)
    began = time.perf_counter() + WARM_S
    span = (began, began + seconds)
    waiting = []
    for _ in range(clients):
        _, client = await loop.create_connection(
            lambda: _Client(endless, span, found), "127.0.0.1", port
        )
        waiting.append(client.done)
    await asyncio.gather(*waiting)
    found.seconds = time.perf_counter() - began
    return found
