"""Publishing for many requests at once: what waits together is stored together.

A request is answered when the broker has its records. One thread sends: it takes all that has
come while it waited for the records before. Where Kafka does not take them within
``serve.kafka_s``, all who wait are told so, and the connection is made anew: nothing of what
was refused is sent later.
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

from rillet.serving.figures import Figures
from stream.errors import BrokerError, RilletError
from stream.kafka import KafkaSink
from stream.records import Outgoing, Sink
from stream.settings import KafkaSettings, Settings

__all__ = ["Connect", "Publisher"]

log = logging.getLogger(__name__)

MOST: Final = 256
"""Requests whose records are sent together."""

PAUSE_S: Final = 1.0
"""After a failure it is not tried again for so long; who comes meanwhile is told at once."""


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
        failed = self._failed
        if failed is not None and time.monotonic() < self._failed_at + PAUSE_S:
            self._figures.refused.inc(len(records))
            raise BrokerError(str(failed), failed.mend)
        loop = asyncio.get_running_loop()
        stored: asyncio.Future[None] = loop.create_future()
        self._given.put(_Given(records, stored, loop))
        await stored

    def offer(self, records: Sequence[Outgoing]) -> None:
        """Send records that nobody waits for; what Kafka does not take is logged and counted."""
        self._given.put(_Given(records, None, asyncio.get_running_loop()))

    def _work(self) -> None:
        going = True
        while going and (first := self._given.get()) is not None:
            batch = [first]
            while len(batch) < MOST:
                try:
                    one = self._given.get_nowait()
                except queue.Empty:
                    break
                if one is None:
                    going = False
                    break
                batch.append(one)
            self._store(batch)
        if self._sink is not None:
            _close(self._sink)

    def _store(self, batch: list[_Given]) -> None:
        count = sum(len(one.records) for one in batch)
        error = self._sent(batch)
        if error is None:
            self._figures.published.inc(count)
            self._failed = None
        else:
            log.warning("%d events refused: %s", count, error)
            self._figures.refused.inc(count)
            self._failed_at, self._failed = time.monotonic(), error
        with suppress(RuntimeError):  # the loop has ended: nobody waits
            batch[0].loop.call_soon_threadsafe(_tell, batch, error)

    def _sent(self, batch: list[_Given]) -> BrokerError | None:
        try:
            if self._sink is None:
                self._sink = self._connect(self._settings)
            for one in batch:
                for record in one.records:
                    self._sink.send(record)
            self._sink.flush(self._patience_s)
        except BrokerError as error:
            sink, self._sink = self._sink, None
            if sink is not None:  # it would try for minutes what its senders will send again
                threading.Thread(target=_close, args=(sink,), daemon=True).start()
            return error
        return None


def _close(sink: Sink) -> None:
    with suppress(RilletError):
        sink.close()


def _tell(batch: list[_Given], error: BrokerError | None) -> None:
    for one in batch:
        if one.stored is None or one.stored.done():  # whoever gave them may have given up
            continue
        if error is None:
            one.stored.set_result(None)
        else:
            one.stored.set_exception(BrokerError(str(error), error.mend))
