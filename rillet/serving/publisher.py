"""Publishing for many requests at once: what waits together is stored together.

A request is answered when the broker has its records. One thread sends: it takes all that has
come while it waited for the records before. Where Kafka does not take them within
``serve.kafka_s``, all who wait are told so, and the connection is made anew: nothing of what
was refused is sent later. Where it refuses some records alone, those who gave them are told.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple

from rillet.serving.batches import batches
from rillet.serving.figures import Figures
from stream.errors import BrokerError, NotTakenError, RilletError
from stream.kafka import KafkaSink
from stream.records import Outgoing, Sink
from stream.settings import KafkaSettings, Settings

__all__ = ["Connect", "Publisher"]

log = logging.getLogger(__name__)

MOST: Final = 256
"""Requests whose records are sent together."""

PAUSE_S: Final = 1.0
"""After a failure it is not tried again for so long; who comes meanwhile is told at once."""

MOST_OFFERED: Final = 1000
"""Requests that may wait before records that nobody waits for are dropped."""

ROUNDS: Final = 3
"""A record that a broker refuses may take others with it; how often those are sent."""

Connect = Callable[[KafkaSettings], Sink]


class _Given(NamedTuple):
    records: Sequence[Outgoing]
    stored: asyncio.Future[None] | None
    loop: asyncio.AbstractEventLoop


class Publisher:
    """Sends records to Kafka, which it connects to when the first come.

    Parameters
    ----------
    settings
        Where Kafka is; ``serve.kafka_s`` is how long it is waited for.
    figures
        Where published and refused events are counted.
    connect
        Makes the way out: to Kafka, or to an engine within this process.
    """

    def __init__(self, settings: Settings, figures: Figures, connect: Connect = KafkaSink) -> None:
        self._patience_s = settings.serve.kafka_s
        self._settings = settings.kafka.model_copy(update={"timeout_s": self._patience_s})
        self._figures = figures
        self._connect = connect
        self._sink: Sink | None = None
        self._failed: BrokerError | None = None
        self._failed_at = 0.0
        self._given: queue.SimpleQueue[_Given | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="publisher", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def close(self) -> None:
        """Send what was given, and disconnect."""
        self._given.put(None)
        await asyncio.to_thread(self._thread.join)

    async def publish(self, records: Sequence[Outgoing]) -> None:
        """Send records, and wait until the brokers have them.

        Raises
        ------
        BrokerError
            They have not, as far as is known: send them again.
        """
        if not records:
            return
        if (failed := self._pause()) is not None:
            self._figures.refused.inc(len(records))
            raise BrokerError(str(failed), failed.mend)
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        self._given.put(_Given(records, stored, loop))
        await stored

    def offer(self, records: Sequence[Outgoing]) -> None:
        """Send records that nobody waits for; what Kafka does not take is counted and dropped."""
        if self._pause() is not None or self._given.qsize() >= MOST_OFFERED:
            self._figures.refused.inc(len(records))
            return
        self._given.put(_Given(records, None, asyncio.get_running_loop()))

    def _pause(self) -> BrokerError | None:
        """Return why nothing is tried at the moment, None where it is."""
        return self._failed if time.monotonic() < self._failed_at + PAUSE_S else None

    def _work(self) -> None:
        for batch in batches(self._given, MOST):
            self._store(batch)
        if self._sink is not None:
            _close(self._sink)

    def _store(self, batch: list[_Given]) -> None:
        try:
            refused = self._sent(batch)
            self._failed = None
        except Exception as found:  # whatever it is, the next ones are to be sent
            error = _told(found)
            self._let_go()
            self._failed_at, self._failed = time.monotonic(), error
            refused = dict.fromkeys(range(len(batch)), error)
        for place, one in enumerate(batch):
            counter = self._figures.refused if place in refused else self._figures.published
            counter.inc(len(one.records))
        if refused:
            count = sum(len(batch[place].records) for place in refused)
            log.warning("%d events refused: %s", count, str(next(iter(refused.values()))))
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            batch[0].loop.call_soon_threadsafe(_tell, batch, refused)

    def _sent(self, batch: list[_Given]) -> dict[int, BrokerError]:
        """Send, and return by its place whose records Kafka does not take."""
        refused: dict[int, BrokerError] = {}
        places = {id(record): place for place, one in enumerate(batch) for record in one.records}
        left: dict[int, list[Outgoing]] = {place: [*one.records] for place, one in enumerate(batch)}
        for last in (*[False] * (ROUNDS - 1), True):
            error = self._tried(left, refused)
            if error is None:
                break
            self._let_go()  # refused by a broker a record may leave the producer unusable
            first, *others = error.records
            refused[places[id(first)]] = error
            left = {}
            for record in others:
                if (place := places[id(record)]) not in refused:
                    left.setdefault(place, []).append(record)
            if last:
                refused |= dict.fromkeys(left, error)
            if not left:
                break
        return refused

    def _tried(
        self, given: dict[int, list[Outgoing]], refused: dict[int, BrokerError]
    ) -> NotTakenError | None:
        """Send once; return what a broker refused, if it did, and add whose are refused here."""
        if self._sink is None:
            self._sink = self._connect(self._settings)
        for place, records in given.items():
            try:
                for record in records:
                    self._sink.send(record)
            except NotTakenError as error:
                refused[place] = error
        try:
            self._sink.flush(self._patience_s)
        except NotTakenError as error:
            return error
        return None

    def _let_go(self) -> None:
        sink, self._sink = self._sink, None
        if sink is not None:  # it would try for minutes what its senders will send again
            threading.Thread(target=_close, args=(sink,), daemon=True).start()


def _told(error: Exception) -> BrokerError:
    """Return what those who wait are told; an error that is none of Kafka's is logged in full.

    It is one of its own: the frames of the other hold sockets, and it is kept.
    """
    if isinstance(error, BrokerError):
        return BrokerError(str(error), error.mend)
    log.error("events could not be sent", exc_info=error)
    if isinstance(error, RilletError):
        return BrokerError(str(error), error.mend)
    return BrokerError("events could not be sent; the service's log says why")


def _close(sink: Sink) -> None:
    with suppress(Exception):  # nothing is lost by it
        sink.close()


def _tell(batch: list[_Given], refused: dict[int, BrokerError]) -> None:
    for place, one in enumerate(batch):
        if one.stored is None or one.stored.done():  # whoever gave them may have given up
            continue
        error = refused.get(place)
        if error is None:
            one.stored.set_result(None)
        else:
            one.stored.set_exception(BrokerError(str(error), error.mend))
