"""Reading Redis for many requests at once: what waits together is asked for together.

One thread asks; a coroutine only waits for it, so that a slow Redis holds up no other request.
While one round trip is under way, what is asked for meanwhile gathers, and goes with the next.
Where Redis is away this is known at once: requests do not wait for it one by one.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from rillet.serving.batches import batches
from stream.errors import RilletError, StoreError
from stream.keys import DEFAULT_USER, Keys
from stream.settings import Settings
from stream.store import Store

__all__ = ["Reader", "impatient"]

log = logging.getLogger(__name__)

MOST: Final = 64
"""Questions in one round trip: more gain nothing, and make the first ones wait."""

AGAIN_S: Final = 0.5
"""How often a Redis that is away is looked for."""

Values = list[bytes | None]


def impatient(settings: Settings) -> Store:
    """Return a way to Redis that waits for it ``serve.redis_s`` at most."""
    redis = settings.redis.model_copy(update={"timeout_s": settings.serve.redis_s / 2})
    # So short a patience allows one new try, for a connection that went stale.
    return Store(redis, retry_s=0.001, make=False)


class _Asked(NamedTuple):
    keys: Sequence[str]
    answer: asyncio.Future[Values]
    loop: asyncio.AbstractEventLoop


class Reader:
    """Reads values, and keeps the list for unknown users in memory.

    Parameters
    ----------
    settings
        Where Redis is; ``serve.redis_s`` is how long it is waited for.
    """

    def __init__(self, settings: Settings) -> None:
        self.keys = Keys(settings.redis.prefix)
        self.default: bytes | None = None
        self._settings = settings
        self._every_s = settings.serve.trending_s
        self._away: StoreError | None = None
        self._asked: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="reader", daemon=True)
        self._keeper: asyncio.Task[None] | None = None

    @property
    def away(self) -> StoreError | None:
        """Why Redis cannot be read at the moment, None where it can."""
        return self._away

    async def start(self) -> None:
        """Begin to read; a Redis that is not there yet is no error."""
        self.store = impatient(self._settings)
        self._thread.start()
        with suppress(StoreError):
            await self._refresh()
        self._keeper = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """End the thread, and disconnect."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        self._asked.put(None)
        await asyncio.to_thread(self._thread.join)
        self.store.close()

    async def get_many(self, keys: Sequence[str]) -> Values:
        """Return the values of the keys, None where there is none.

        Raises
        ------
        StoreError
            Redis is away; that is told at once where it is known already.
        """
        if self._away is not None:
            raise _again(self._away)
        return await self._ask(keys)

    async def get(self, key: str) -> bytes | None:
        """Return the value of one key, None where there is none."""
        return (await self.get_many([key]))[0]

    async def _ask(self, keys: Sequence[str]) -> Values:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Values] = loop.create_future()
        self._asked.put(_Asked(keys, answer, loop))
        return await answer

    async def _keep(self) -> None:
        """Read the list for unknown users now and then, and so learn whether Redis is there."""
        while True:
            await asyncio.sleep(AGAIN_S if self._away else self._every_s)
            with suppress(RilletError):
                await self._refresh()

    async def _refresh(self) -> None:
        (raw,) = await self._ask([self.keys.recs(DEFAULT_USER)])
        if raw is not None:  # one that ran out is better than none
            self.default = raw

    def _work(self) -> None:
        for batch in batches(self._asked, MOST):
            self._serve(batch)

    def _serve(self, batch: list[_Asked]) -> None:
        keys = [key for one in batch for key in one.keys]
        error: RilletError | None = None
        values: Values = []
        try:
            values = self.store.get_many(keys)
        except RilletError as found:
            error = found
            self._note(error)
        except Exception:  # whatever it is, the next ones are to be asked
            log.exception("what was asked for could not be read")
            error = StoreError("Redis could not be read; the service's log says why")
        else:
            self._note(None)
        loop = batch[0].loop
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            loop.call_soon_threadsafe(_deliver, batch, values, error)

    def _note(self, error: RilletError | None) -> None:
        away = error if isinstance(error, StoreError) else None
        if away is not None and self._away is None:
            self._since = time.monotonic()
            log.warning("Redis is away; the last known list is served: %s", away)
        elif away is None and self._away is not None:
            log.info("Redis is back after %.1f s", time.monotonic() - self._since)
        self._away = away


def _deliver(batch: list[_Asked], values: Values, error: RilletError | None) -> None:
    begin = 0
    for one in batch:
        end = begin + len(one.keys)
        if not one.answer.done():  # whoever asked may have given up
            if error is None:
                one.answer.set_result(values[begin:end])
            else:
                one.answer.set_exception(_again(error))
        begin = end


def _again(error: RilletError) -> RilletError:
    """Return the same error as one of its own for each who is told."""
    return type(error)(str(error), error.mend)
