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
from typing import Any, Final, TypeVar

from consumers.catalogue import CatalogueConsumer
from consumers.kept import KeptSessions
from consumers.neighbours import Neighbours
from features.parts.base import Rules
from features.session import Session, admit, advance, encode_session, merge_of
from features.text import TextEncoder
from features.tombstone import encode_tombstone, life_of
from models.activity import ActivityWriter
from stream import metrics
from stream.clock import Clock
from stream.events import BadRecord, Delete, Event, Identify, Merge, decode, partition_key
from stream.keys import Keys
from stream.log import read_log
from stream.pseudonyms import pseudonyms_of
from stream.records import Record
from stream.routing import about_items
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain, Writes

__all__ = ["Import", "Imported"]

NOWHERE: Final = -1
"""The partition of what was imported. Redis compares stamps of one partition, and reads none of
this number: whatever comes is written over it."""

AT_ONCE: Final = 50_000
"""Records of a step, at the most: each state that they touch is read and written once."""

TEXTS: Final = 512
"""Items that are encoded at once."""

T = TypeVar("T")
Line = tuple[int, bytes]
Deed = tuple[int, Event, str]
"""A line's number, its event, and whose it is."""


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
        self._keys = Keys(settings.redis.prefix)
        self._rules = Rules(settings.session, settings.interactions)
        self._catalogue = CatalogueConsumer(settings, store, encoder)
        self._neighbours = Neighbours(settings, store)
        self._sessions = KeptSessions(store, self._keys, settings.session.cached)
        self._activity = ActivityWriter(settings.neighbours, settings.kafka.transitions, 1)
        self._pseudonyms = pseudonyms_of(settings.privacy)
        self._most = settings.limits.user_events_per_minute
        self._known: set[int] = set()

    def run(self, path: str | Path, on_bytes: Callable[[int], None] | None = None) -> Imported:
        """Read the log to its end; return what was counted."""
        metrics.reset()
        self._known.clear()
        wall, cpu = time.perf_counter(), time.process_time()
        found = Imported(str(path))
        for lines in _parts(read_log(path, on_bytes=on_bytes), AT_ONCE):
            found.events += len(lines)
            found.bad += self._take(lines)
        found.users = len(self._known)
        found.wall_s = time.perf_counter() - wall
        found.cpu_us_per_event = (time.process_time() - cpu) / max(1, found.events) * 1e6
        return found

    def _take(self, lines: Sequence[Line]) -> int:
        """Import some lines; return how many of them are no events."""
        items: list[Record] = []
        deeds: list[Deed] = []
        bad = 0
        latest = self._clock.now_ms() + self._settings.batch.future_s * 1000
        for number, raw in lines:
            event = decode(raw, max_bytes=self._settings.batch.max_bytes)
            if isinstance(event, BadRecord) or event.timestamp > latest:
                bad += 1
            elif about_items(event):
                items.append(Record(self._settings.kafka.catalogue, NOWHERE, number, None, raw))
            elif not isinstance(event, Merge):  # what `identify` has moved is moved here again
                named = self._pseudonyms.event(event) if self._pseudonyms.active else event
                deeds.append((number, named, partition_key(named)))
        for some in _parts(items, TEXTS):
            self._write(self._catalogue.handle(some))
        for part in self._fitting(deeds):
            self._fold(part)
        return bad

    def _fitting(self, deeds: Sequence[Deed]) -> Iterator[Sequence[Deed]]:
        """Yield parts of which the users' states fit in memory: `session.cached`, or one's."""
        first, users = 0, set[str]()
        most = self._settings.session.cached
        for at, deed in enumerate(deeds):
            if deed[2] in users and not isinstance(deed[1], Identify):
                continue
            mine = _names(deed)
            if users and len(users) + len(mine) > most and len(users.union(mine)) > most:
                yield deeds[first:at]
                first, users = at, set()
            users.update(mine)
        if first < len(deeds):
            yield deeds[first:]

    def _fold(self, deeds: Sequence[Deed]) -> None:
        self._sessions.load({name for deed in deeds for name in _names(deed)})
        touched: dict[str, Session] = {}
        stones: dict[str, bytes] = {}
        for number, event, user in deeds:
            self._one(number, event, self._sessions[user], touched, stones)
        place = NOWHERE, deeds[-1][0]
        self._write(self._neighbours.fold([(place, one) for _, one in self._activity.take()]))
        self._neighbours.committed()
        life = int(self._settings.privacy.tombstone_days * 86_400_000)
        keys = self._keys
        plain = [Plain(keys.forgotten(user), raw, life) for user, raw in stones.items()]
        plain += map(self._state, touched.values())
        self._store.write_plain(plain)
        self._known.update(map(hash, touched))
        self._sessions.trim()

    def _one(
        self,
        number: int,
        event: Event,
        session: Session,
        touched: dict[str, Session],
        stones: dict[str, bytes],
    ) -> None:
        """Fold one event of a user, and what it hands over to another."""
        place = (NOWHERE, number)
        touched[session.user] = session
        merge = merge_of(session, event) if isinstance(event, Identify) else None
        found = isinstance(event, Identify) and not session.forgotten
        moment = admit(session, event, place, self._rules)
        if isinstance(event, Identify | Delete):
            stones[session.user] = encode_tombstone(session, found=found)
        if merge is not None:
            self._one(number, merge, self._sessions[merge.user], touched, stones)
        if moment is None:
            return
        if not self._most or session.pace.at(moment.time) < self._most:
            self._activity.add(session, event, moment, place)
        advance(session, event, moment, place, self._rules)

    def _state(self, session: Session) -> Plain:
        life = life_of(session, self._store.ttl_ms)
        return Plain(self._keys.session(session.user), encode_session(session), life)

    def _write(self, writes: Writes) -> None:
        """Write what a consumer wants written; nobody follows the feed meanwhile."""
        stamped = [Plain(one.key, one.value, one.ttl_ms) for one in writes.stamped]
        self._store.write_plain([*stamped, *writes.plain])


def _names(deed: Deed) -> tuple[str, ...]:
    """Return whose states an event changes."""
    _, event, user = deed
    return (user, event.user) if isinstance(event, Identify) else (user,)


def _parts(things: Iterable[T], most: int) -> Iterator[list[T]]:
    several = iter(things)
    while some := list(islice(several, most)):
        yield some
