"""Publishing an event log, at full speed or in the log's own rhythm."""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any, Final

from stream.events import BadRecord, decode
from stream.log import Progress, read_log
from stream.records import Sink
from stream.routing import outgoing
from stream.settings import Settings

__all__ = ["Pace", "Published", "publish_log"]

OVERHEAD: Final = 512
"""Bytes that a record's key and headers may add to its value."""


@dataclass(slots=True)
class Published:
    """What was sent.

    Attributes
    ----------
    log
        The log.
    events, items
        Records to the events topic and to the catalogue topic.
    bad
        How many of them are no events; the consumers will set them aside.
    too_long
        Lines of records that Kafka does not take, and that were not sent.
    stopped
        Whether it was interrupted before the log's end.
    wall_s
        How long it took.
    """

    log: str
    events: int = 0
    items: int = 0
    bad: int = 0
    too_long: list[int] = field(default_factory=list)
    stopped: bool = False
    wall_s: float = 0.0

    @property
    def sent(self) -> int:
        """All records sent."""
        return self.events + self.items

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        rate = round(self.sent / max(self.wall_s, 1e-9), 1)
        return asdict(self) | {"wall_s": round(self.wall_s, 3), "events_per_s": rate}


class Pace:
    """Waits until an event is due, so many times faster than it happened.

    Parameters
    ----------
    speed
        Times real time; 0 does not wait at all.
    stop
        Ends a wait.
    """

    def __init__(self, speed: float, stop: threading.Event) -> None:
        self._speed, self._stop = speed, stop
        self._first: int | None = None
        self._began = 0.0

    def wait(self, time_ms: int) -> None:
        """Wait; an event that is older than the ones before is due at once."""
        if not self._speed:
            return
        if self._first is None:
            self._first, self._began = time_ms, time.monotonic()
        due = self._began + (time_ms - self._first) / 1000 / self._speed
        left = due - time.monotonic()
        if left > 0:
            self._stop.wait(left)


def publish_log(  # noqa: PLR0913 - each is a choice of the caller's
    log: str,
    settings: Settings,
    sink: Sink,
    *,
    speed: float = 0.0,
    limit: int = 0,
    stop: threading.Event | None = None,
    on_bytes: Progress | None = None,
) -> Published:
    """Send the records of a log to their topics, and wait until Kafka has them.

    Bad records are sent as they are, for the consumers to set aside with a
    reason. Only what Kafka would refuse for its length stays behind.

    Parameters
    ----------
    log
        The log's path, or ``-``.
    settings
        Names of the topics, and the longest record.
    sink
        Takes the records; the caller closes it.
    speed
        Times real time, by the events' own times; 0 is as fast as Kafka takes them.
    limit
        Only so many records; 0 is all.
    stop
        Ends it early, with everything sent so far stored.
    on_bytes
        Told of the progress.

    Raises
    ------
    LogError
        The log cannot be read.
    BrokerError
        Kafka is away or refuses a record.
    """
    stop = stop or threading.Event()
    result, pace, began = Published(log), Pace(speed, stop), time.perf_counter()
    longest = settings.kafka.max_record_bytes - OVERHEAD
    for line, raw in islice(read_log(log, on_bytes=on_bytes), limit or None):
        event = decode(raw, max_bytes=settings.batch.max_bytes)
        if not isinstance(event, BadRecord):
            pace.wait(event.timestamp)
        if stop.is_set():
            result.stopped = True
            break
        if len(raw) > longest:
            result.too_long.append(line)
            continue
        record = outgoing(raw, event, settings)
        sink.send(record)
        result.bad += isinstance(event, BadRecord)
        result.items += record.topic == settings.kafka.catalogue
        result.events += record.topic == settings.kafka.events
    sink.flush()
    result.wall_s = time.perf_counter() - began
    return result
