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
from typing import Any, Final

from consumers.catalogue import CatalogueConsumer
from consumers.kept import KeptSessions
from consumers.neighbours import Neighbours
from features.parts.base import Rules
from features.session import Session, admit, advance, bad_merge, encode_session, merge_of
from features.text import TextEncoder
from features.tombstone import SHELL_MS, encode_tombstone, is_shell
from models.activity import ActivityWriter
from stream import metrics
from stream.events import BadRecord, Delete, Event, Identify, Item, Merge, decode, partition_key
from stream.keys import Keys
from stream.log import read_log
from stream.records import Record
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain, Writes

__all__ = ["Import", "Imported"]

NOWHERE: Final = -1
"""The partition of what was imported."""

AT_ONCE: Final = 50_000
"""Records of a step: each state that they touch is read and written once."""

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
    """Folds a log into a Redis that no consumer writes to meanwhile.

    The states are those of a replay but for their stamps, and so is what follows what; a
    visitor's state is handed over at once, not when his stream comes to it.

    Parameters
    ----------
    settings
        All settings.
    store, encoder
        Opened by the caller, who also closes the store.
    """

    def __init__(self, settings: Settings, store: Store, encoder: TextEncoder) -> None:
        self._settings, self._store = settings, store
        self._keys = Keys(settings.redis.prefix)
        self._rules = Rules(settings.session, settings.interactions)
        self._catalogue = CatalogueConsumer(settings, store, encoder)
        self._neighbours = Neighbours(settings, store)
        self._sessions = KeptSessions(store, self._keys, settings.session.cached)
        self._activity = ActivityWriter(settings.neighbours, settings.kafka.transitions, 1)
        self._most = settings.limits.user_events_per_minute
        self._known: set[int] = set()

    def run(self, path: str | Path, on_bytes: Callable[[int], None] | None = None) -> Imported:
        """Read the log to its end; return what was counted."""
        metrics.reset()
        wall, cpu = time.perf_counter(), time.process_time()
        found = Imported(str(path))
        for lines in _steps(read_log(path, on_bytes=on_bytes)):
            found.events += len(lines)
            found.bad += self._take(lines)
        found.users = len(self._known)
        found.wall_s = time.perf_counter() - wall
        found.cpu_us_per_event = (time.process_time() - cpu) / max(1, found.events) * 1e6
        return found

    def _take(self, lines: Sequence[Line]) -> int:
        """Import some lines; return how many of them are no events."""
        items: list[Record] = []
        deeds: list[tuple[int, Event]] = []
        bad = 0
        for number, raw in lines:
            event = decode(raw, max_bytes=self._settings.batch.max_bytes)
            if isinstance(event, Merge):
                event = bad_merge(event, raw) or event
            if isinstance(event, BadRecord):
                bad += 1
            elif isinstance(event, Item) or (isinstance(event, Delete) and event.item is not None):
                items.append(Record(self._settings.kafka.catalogue, NOWHERE, number, None, raw))
            else:
                deeds.append((number, event))
        if items:
            self._write(self._catalogue.handle(items))
        if deeds:
            self._fold(deeds)
        return bad

    def _fold(self, deeds: Sequence[tuple[int, Event]]) -> None:
        users = {partition_key(event) for _, event in deeds}
        users |= {event.user for _, event in deeds if isinstance(event, Identify)}
        self._sessions.load(users)
        stones: dict[str, bytes] = {}
        for number, event in deeds:
            self._one(number, event, stones)
        place = NOWHERE, deeds[-1][0]
        self._write(self._neighbours.fold([(place, one) for _, one in self._activity.take()]))
        self._neighbours.committed()
        life = int(self._settings.privacy.tombstone_days * 86_400_000)
        keys = self._keys
        plain = [Plain(keys.forgotten(user), raw, life) for user, raw in stones.items()]
        plain += [self._state(self._sessions[user]) for user in users]
        self._store.write_plain(plain)
        self._known.update(map(hash, users))
        self._sessions.trim()

    def _one(self, number: int, event: Event, stones: dict[str, bytes]) -> None:
        """Fold one event of a user, and what it hands over to another."""
        session, place = self._sessions[partition_key(event)], (NOWHERE, number)
        merge = merge_of(session, event) if isinstance(event, Identify) else None
        moment = admit(session, event, place, self._rules)
        if isinstance(event, Identify | Delete):
            stones[session.user] = encode_tombstone(session)
        if merge is not None:
            self._one(number, merge, stones)
        if moment is None:
            return
        if not self._most or session.pace.at(moment.time) < self._most:
            self._activity.add(session, event, moment, place)
        advance(session, event, moment, place, self._rules)

    def _state(self, session: Session) -> Plain:
        life = SHELL_MS if is_shell(session) else self._store.ttl_ms
        return Plain(self._keys.session(session.user), encode_session(session), life)

    def _write(self, writes: Writes) -> None:
        """Write what a consumer wants written; no stamp of ours can come too late."""
        stamped = [Plain(one.key, one.value, one.ttl_ms) for one in writes.stamped]
        self._store.write_plain([*stamped, *writes.plain])
        self._store.add_changes(writes.changes)


def _steps(lines: Iterable[Line]) -> Iterator[list[Line]]:
    several = iter(lines)
    while some := list(islice(several, AT_ONCE)):
        yield some
