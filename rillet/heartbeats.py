"""The heartbeats of the consumers that are alive."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import msgspec

from rillet.pace import Pace
from stream.metrics import Pulse
from stream.store import Store

__all__ = ["Heartbeats"]

SCAN_S: Final = 2.0

_PULSE: Final = msgspec.json.Decoder(Pulse)


class Heartbeats:
    """Reads them again and again; names are looked for now and then, in all of Redis.

    Parameters
    ----------
    clock
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._pace = Pace(SCAN_S, clock)
        self._names: list[str] = []

    def read(self, store: Store) -> list[Pulse]:
        """Return the heartbeats of the consumers that are alive, by name."""
        if self._pace.due:
            with self._pace.run():
                self._names = sorted(set(store.names("process")))
        raws = store.get_many([store.keys.heartbeat(name) for name in self._names])
        return [_PULSE.decode(raw) for raw in raws if raw is not None]
