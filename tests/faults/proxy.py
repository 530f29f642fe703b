"""A TCP proxy on loopback whose connections stall, break, or break in the middle of a write."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any

__all__ = ["Proxy"]

HOST = "127.0.0.1"
BLOCK = 65_536


class Proxy:
    """Passes on what it gets, in a thread of its own, until it is told otherwise.

    Parameters
    ----------
    listens, target
        Its own port (0 takes one that is free), and the port of the server behind it.
    """

    def __init__(self, listens: int, target: int) -> None:
        self.target = target
        self.port = listens
        self._left: int | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._do(self._open())

    async def _open(self) -> None:
        self._flows = asyncio.Event()
        self._flows.set()
        self._server = await asyncio.start_server(self._accept, HOST, self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])

    def stall(self) -> None:
        """Let nothing through, and break nothing."""
        self._loop.call_soon_threadsafe(self._flows.clear)

    def flow(self) -> None:
        """Let everything through again."""
        self._loop.call_soon_threadsafe(self._flows.set)

    def drop(self) -> None:
        """Break all connections."""
        self._do(self._drop())

    def cut(self, after: int) -> None:
        """Break all connections once so many more bytes have gone to the server."""
        self._left = after

    def close(self) -> None:
        """End it, with all its connections."""
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _end(self) -> None:
        self._server.close()
        await self._drop()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _drop(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._flows.wait()
            away, back = await asyncio.open_connection(HOST, self.target)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
            self._tasks.discard(task)
            return
        both = {writer, back}
        self._writers |= both
        ways = [
            asyncio.ensure_future(self._pump(reader, back, upward=True)),
            asyncio.ensure_future(self._pump(away, writer, upward=False)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            pass
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for one in both:
            one.transport.abort()
        self._writers -= both
        self._tasks.discard(task)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, upward: bool
    ) -> None:
        while data := await reader.read(BLOCK):
            await self._flows.wait()
            if upward and self._left is not None:
                data, self._left = data[: self._left], self._left - len(data)
                if self._left <= 0:
                    self._left = None
                    writer.write(data)
                    await writer.drain()
                    await asyncio.sleep(0.01)  # what was sent arrives
                    await self._drop()
                    return
            writer.write(data)
            await writer.drain()
