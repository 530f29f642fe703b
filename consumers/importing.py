"""A log folded into states alone: users, items, what follows what; no lists, no learning.

What is imported stands before everything that live consumers read: its stamps name no
partition (:data:`NOWHERE`), so that the first record of any is newer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from sys import intern
from typing import Any, Final, TypeVar

from msgspec.structs import force_setattr

from consumers.catalogue import CatalogueConsumer
from consumers.deeds import NOWHERE, Deed, Deeds, names_of
from features.text import TextEncoder
from stream import metrics
from stream.clock import Clock
from stream.errors import LogError
from stream.events import (
    BadRecord,
    Event,
    Identify,
    Interaction,
    Merge,
    Ranking,
    decode,
    partition_key,
)
from stream.log import read_log
from stream.pseudonyms import pseudonyms_of
from stream.records import Record
from stream.routing import about_items
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain, Writes

__all__ = ["Import", "Imported"]

AT_ONCE: Final = 50_000
"""Records of a step, at the most: each item's statistics that they touch are folded once."""

TEXTS: Final = 512
"""Items that are encoded at once."""

T = TypeVar("T")
Line = tuple[int, bytes]


@dataclass(slots=True)
class Imported:
    """What was imported, and what it took."""

    log: str
    events: int = 0
    bad: int = 0
    users: int = 0
    wall_s: float = 0.0
    cpu_us_per_event: float = 0.0

    def report(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return {
            "log": self.log,
            "events": self.events,
            "bad": self.bad,
            "users": self.users,
            "wall_s": round(self.wall_s, 3),
            "events_per_s": round(self.events / max(self.wall_s, 1e-9)),
            "cpu_us_per_event": round(self.cpu_us_per_event, 1),
        }


class Import:
    """Folds a log into a Redis that holds no states, and that no consumer writes to meanwhile.

    The states are those of a replay but for their stamps; so is what follows what, up to
    ``neighbours.capacity``. A visitor's state is handed over at once, not when his stream comes
    to it. Persons are named by pseudonyms where ``privacy.key`` is set, as when they publish.

    Parameters
    ----------
    settings
        All settings.
    store, encoder
        Opened by the caller, who also closes the store.
    clock
        Events from the future are refused, as live.
    """

    def __init__(
        self, settings: Settings, store: Store, encoder: TextEncoder, clock: Clock
    ) -> None:
        self._settings, self._store, self._clock = settings, store, clock
        self._catalogue = CatalogueConsumer(settings, store, encoder)
        self._deeds = Deeds(settings, store)
        self._pseudonyms = pseudonyms_of(settings.privacy)
        self._known: set[int] = set()

    def run(self, path: str | Path, on_bytes: Callable[[int], None] | None = None) -> Imported:
        """Read the log to its end; return what was counted."""
        metrics.reset()
        self._known.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        found = Imported(str(path))
        try:
            for lines in _parts(read_log(path, on_bytes=on_bytes), AT_ONCE):
                found.events += len(lines)
                found.bad += self._take(lines)
        except LogError:  # what came before stays, as the message says
            self._deeds.end()
            raise
        self._deeds.end()
        found.users = len(self._known)
        found.wall_s = time.perf_counter() - wall
        found.cpu_us_per_event = (time.process_time() - cpu) / max(1, found.events) * 1e6
        return found

    def _take(self, lines: Sequence[Line]) -> int:
        """Import some lines; return how many of them are no events."""
        items: list[Record] = []
        deeds: list[Deed] = []
        bad, most = 0, self._settings.batch.max_bytes
        latest = self._clock.now_ms() + self._settings.batch.future_s * 1000
        for number, raw in lines:
            event = decode(raw, max_bytes=most)
            if isinstance(event, BadRecord) or event.timestamp > latest:
                bad += 1
            elif about_items(event):
                items.append(Record(self._settings.kafka.catalogue, NOWHERE, number, None, raw))
            elif not isinstance(event, Merge):  # what `identify` has moved is moved here again
                if self._pseudonyms.active:
                    event = self._pseudonyms.event(event)
                _share(event)
                deeds.append((number, event, partition_key(event)))
        for some in _parts(items, TEXTS):
            self._write(self._catalogue.handle(some))
        for part in self._fitting(deeds):
            self._known.update(map(hash, self._deeds.fold(part)))
        return bad

    def _fitting(self, deeds: Sequence[Deed]) -> Iterator[Sequence[Deed]]:
        """Yield parts of which the users' states fit in memory, or which are one's."""
        first, users, room = 0, set[str](), self._deeds.room
        for at, deed in enumerate(deeds):
            if deed[2] in users and not isinstance(deed[1], Identify):
                continue
            mine = names_of(deed)
            if users and len(users) + len(mine) > room and len(users.union(mine)) > room:
                yield deeds[first:at]
                first, users = at, set()
            users.update(mine)
        if first < len(deeds):
            yield deeds[first:]

    def _write(self, writes: Writes) -> None:
        """Write what a consumer wants written; nobody follows the feed meanwhile."""
        stamped = [Plain(one.key, one.value, one.ttl_ms) for one in writes.stamped]
        self._store.write_plain([*stamped, *writes.plain])


def _share(event: Event) -> None:
    """Have names that come again and again, and lie in many states, in memory once."""
    if isinstance(event, Interaction):
        force_setattr(event, "item", intern(event.item))
        force_setattr(event, "type", intern(event.type))
    elif isinstance(event, Ranking):
        for shown in event.items:
            force_setattr(shown, "id", intern(shown.id))


def _parts(things: Iterable[T], most: int) -> Iterator[list[T]]:
    several = iter(things)
    while some := list(islice(several, most)):
        yield some
