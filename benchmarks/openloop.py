"""Publishing at a fixed rate, whether the engine keeps up or not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import msgspec

from benchmarks.watch import Due
from rillet import Client
from stream.events import Event, Millis, partition_key

__all__ = ["Plan"]

LEAD_S: Final = 1.0
"""Between the decision to begin and the first event."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What is published when: each event at its time, which is its timestamp too.

    Attributes
    ----------
    begin
        When the schedule starts, by ``time.monotonic``.
    schedule, events
        Of each event when it is due, and the event as it is published.
    """

    begin: float
    schedule: list[Due]
    events: list[Event]

    @classmethod
    def of(cls, deeds: Sequence[Event], per_s: int) -> Self:
        """Return a plan for these events, which begins in a second."""
        begin = time.monotonic() + LEAD_S
        epoch_ms = int((time.time() + LEAD_S) * 1000)
        schedule, events = [], []
        for number, event in enumerate(deeds):
            at_s = number / per_s
            now = Millis(epoch_ms + int(at_s * 1000))
            events.append(msgspec.structs.replace(event, timestamp=now))
            schedule.append(Due(partition_key(event), at_s, now))
        return cls(begin, schedule, events)

    def publish(self, client: Client) -> tuple[list[float], float]:
        """Publish each event at its time.

        Returns
        -------
        tuple
            How many seconds late each was published, and events a second.
        """
        late = []
        for due, event in zip(self.schedule, self.events, strict=True):
            left = self.begin + due.at_s - time.monotonic()
            if left > 0:
                time.sleep(left)
            client.publish(event)
            late.append(time.monotonic() - self.begin - due.at_s)
        took = time.monotonic() - self.begin
        client.flush()
        return late, len(self.events) / took
