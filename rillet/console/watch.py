"""What the console has seen of the consumers: rates over the last minutes, their state now."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from contextlib import closing
from typing import Final, NamedTuple

from rillet.console.curves import Curve
from rillet.console.once import Once
from rillet.heartbeats import Heartbeats
from rillet.serving.service import Service
from rillet.state import State, look
from stream.letters import Letter, letter_of
from stream.store import Store

__all__ = ["Seen", "Watch", "percentile"]

KEPT: Final = 600
LETTERS: Final = 20
EVERY_S: Final = 1.0


class Seen(NamedTuple):
    """The state of the consumers, and the newest dead letters where the engine runs here."""

    state: State
    letters: list[Letter]


class _At(NamedTuple):
    """What a consumer did at a time, epoch milliseconds: events a second, records that waited."""

    time: float
    rate: float
    lag: float


class Watch:
    """Asks no more than once a second, however many pages are open.

    Parameters
    ----------
    service
        Says where Redis and Kafka are.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._asked_at = 0.0
        self._last: Seen | None = None
        self._once, self._heartbeats = Once(self._look), Heartbeats()
        self._seen: dict[str, deque[_At]] = {}

    async def seen(self) -> Seen:
        """Return what is known now, at most a second old.

        Raises
        ------
        StoreError
            Redis is away.
        """
        if self._last is None or time.monotonic() - self._asked_at >= EVERY_S:
            await self._once()
        assert self._last is not None
        return self._last

    async def _look(self) -> None:
        self._last = await asyncio.to_thread(self._ask)
        self._asked_at = time.monotonic()
        for name, now in _by_consumer(self._last.state).items():
            self._seen.setdefault(name, deque(maxlen=KEPT)).append(now)

    def _ask(self) -> Seen:
        settings, engine = self._service.settings, self._service.engine
        with closing(Store(settings.redis, retry_s=0.5, make=False)) as store:
            state = look(settings, store, kafka=engine is None, heartbeats=self._heartbeats)
        records = [] if engine is None else engine.letters()[-LETTERS:]
        return Seen(state, [letter_of(record) for record in reversed(records)])

    def rates(self) -> dict[str, Curve]:
        """Return events a second by consumer, as far back as somebody watched."""
        return self._curves(lambda one: one.rate)

    def lags(self) -> dict[str, Curve]:
        """Return how many records waited, by consumer."""
        return self._curves(lambda one: one.lag)

    def _curves(self, value: Callable[[_At], float]) -> dict[str, Curve]:
        return {
            name: Curve([one.time for one in seen], [value(one) for one in seen])
            for name, seen in self._seen.items()
        }


def percentile(values: list[float], share: float) -> float:
    """Return the value below which a share of the values lies, 0 of none.

    Examples
    --------
    >>> percentile([5.0, 1.0, 3.0], 0.5), percentile([5.0, 1.0], 0.5), percentile([], 0.5)
    (3.0, 1.0, 0.0)
    """
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)] if values else 0.0


def _by_consumer(state: State) -> dict[str, _At]:
    """Return what the processes of each consumer do together."""
    found: dict[str, _At] = {}
    for pulse in state.processes:
        rate, lag = found.get(pulse.name, (0.0, 0.0, 0.0))[1:]
        found[pulse.name] = _At(float(state.at), rate + pulse.events_per_s, lag + pulse.lag)
    return found
