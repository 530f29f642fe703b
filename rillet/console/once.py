"""Work that many pages wait for, and that is done once for all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

__all__ = ["Once"]


class Once:
    """Does one run at a time; who comes meanwhile waits for the end of that one.

    Parameters
    ----------
    work
        What is to be done.
    """

    def __init__(self, work: Callable[[], Coroutine[None, None, None]]) -> None:
        self._work = work
        self._running: asyncio.Task[None] | None = None

    async def __call__(self) -> None:
        """Wait for the run at hand, or for a new one; its error is raised to all who wait."""
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        await asyncio.shield(self._running)  # a page that is closed does not end it for others

    async def _run(self) -> None:
        try:
            await self._work()
        finally:
            self._running = None
