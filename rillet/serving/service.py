"""What the endpoints share: the way to Redis and to Kafka, the ranker, the guard, the figures."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from fastapi import Request

from rillet.serving.figures import Figures
from rillet.serving.guard import Guard
from rillet.serving.publisher import Publisher
from rillet.serving.reader import Reader
from stream.clock import Clock, SystemClock
from stream.errors import RefusedError
from stream.kafka import KafkaSink
from stream.keys import DEFAULT_USER
from stream.pseudonyms import pseudonyms_of
from stream.settings import Settings

if TYPE_CHECKING:
    from consumers.embedded import Embedded
    from rillet.serving.ranker import Ranker

__all__ = ["Service", "service_of"]

LOOK_S: Final = 0.2
"""How often it is looked whether all is loaded."""

P = ParamSpec("P")
T = TypeVar("T")


class Service:
    """One for each application; made before it starts.

    Parameters
    ----------
    settings
        Of everything.
    ranker
        What searches and ranks; None where only lists are served.
    engine
        One that runs in this process and takes the events; None where they go to Kafka.

    Attributes
    ----------
    reader
        Reads Redis.
    publisher
        Sends events to Kafka.
    guard, figures
        Who is let in; what was done.
    """

    def __init__(
        self, settings: Settings, ranker: Ranker | None, engine: Embedded | None = None
    ) -> None:
        self.settings, self.ranker, self.engine = settings, ranker, engine
        self._clock: Clock = engine.clock if engine else SystemClock()
        self.reader = Reader(settings)
        self.guard = Guard(settings.serve)
        self.figures = Figures()
        self.publisher = Publisher(settings, self.figures, engine.sink if engine else KafkaSink)
        self._pool = ThreadPoolExecutor(settings.serve.threads, "rank")

    async def start(self) -> None:
        """Connect what can be connected, and begin to load the ranker."""
        if self.engine is not None:
            self.engine.start()
        self.publisher.start()
        await self.reader.start()
        if self.ranker is not None:
            self.ranker.start()
        self._settling = asyncio.create_task(self._settle())

    async def _settle(self) -> None:
        """Have the collector leave alone what is there to stay, once all is loaded.

        It would look through all of it again and again, and each time nobody is answered.
        """
        while self.ranker is not None and not self.ranker.ready:
            await asyncio.sleep(LOOK_S)
        gc.collect()
        gc.freeze()

    async def close(self) -> None:
        """End all threads, and disconnect."""
        self._settling.cancel()
        if self.ranker is not None:
            await asyncio.to_thread(self.ranker.close)
        self._pool.shutdown(wait=False, cancel_futures=True)
        await self.publisher.close()
        await self.reader.close()
        if self.engine is not None:
            await asyncio.to_thread(self.engine.close)

    def now_ms(self) -> int:
        """Return the time, in epoch milliseconds."""
        return self._clock.now_ms()

    @property
    def can_rank(self) -> bool:
        """Whether there is a ranker, and it is loaded."""
        return self.ranker is not None and self.ranker.ready

    def names(self, user: str) -> list[str]:
        """Return under which names a user may lie in Redis, the present one first."""
        if user == DEFAULT_USER:
            return [user]
        return pseudonyms_of(self.settings.privacy).all_of(user)

    def loaded(self) -> Ranker:
        """Return the ranker.

        Raises
        ------
        RefusedError
            There is none (503), or it is still loading.
        """
        if self.ranker is None:
            mend = "`rillet serve` loads it, unless --no-search is given"
            raise RefusedError(503, "no-search", "search is not loaded", mend)
        if not self.ranker.ready:
            raise RefusedError(503, "loading", "search is still loading", wait_s=2)
        return self.ranker

    async def aside(self, work: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Do what takes the processor in a thread, so that reading lists goes on."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(work, *args, **named))


def service_of(request: Request) -> Service:
    """Return the service of the application that a request came to."""
    found: Service = request.app.state.service
    return found
