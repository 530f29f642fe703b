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
from consumers.held import Held
from consumers.neighbours import CACHED
from features.card import AsOf
from features.parts.base import Rules
from features.session import Session, admit, advance, encode_session, merge_of
from features.text import TextEncoder
from features.tombstone import encode_tombstone, life_of, state_of
from models.item_state import ItemState, decode_item_state
from models.kept_item import KeptItem
from models.tally import Tally
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
"""Records of a step, at the most: each item's statistics that they touch are folded once."""

KEPT_BYTES: Final = 512 << 20
"""Memory for users' states, where that is more of them than `session.cached`."""

SWOLLEN: Final = 8
"""Bytes of memory that a stored byte of a state takes."""

SAMPLED: Final = 200
"""States of which it is reckoned after a step how much memory one takes."""

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
        self._sessions = Held(store, self._read_sessions, self._session)
        self._items = Held(store, self._read_items, self._item)
        self._tally = Tally(settings.neighbours, NOWHERE)
        self._room = settings.session.cached
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
        self._items.trim(0)
        self._sessions.trim(0)
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
        """Yield parts of which the users' states fit in memory, or which are one's."""
        first, users = 0, set[str]()
        for at, deed in enumerate(deeds):
            if deed[2] in users and not isinstance(deed[1], Identify):
                continue
            mine = _names(deed)
            if users and len(users) + len(mine) > self._room:
                if len(users.union(mine)) > self._room:
                    yield deeds[first:at]
                    first, users = at, set()
            users.update(mine)
        if first < len(deeds):
            yield deeds[first:]

    def _fold(self, deeds: Sequence[Deed]) -> None:
        self._sessions.load({name for deed in deeds for name in _names(deed)})
        touched = {user for _, _, user in deeds}
        stones: dict[str, bytes] = {}
        for number, event, user in deeds:
            session = self._sessions[user]
            if isinstance(event, Identify | Delete):
                self._leave(number, event, session, touched, stones)
            else:
                self._one(number, event, session)
        for state in self._tally.fold(self._load_items):
            state.as_of = AsOf(NOWHERE, deeds[-1][0], state.newest)
        self._items.trim(CACHED)
        life = int(self._settings.privacy.tombstone_days * 86_400_000)
        named = self._keys.forgotten
        self._store.write_plain([Plain(named(user), raw, life) for user, raw in stones.items()])
        self._known.update(map(hash, touched))
        self._sessions.change(touched)
        self._make_room()

    def _leave(
        self,
        number: int,
        event: Identify | Delete,
        session: Session,
        touched: set[str],
        stones: dict[str, bytes],
    ) -> None:
        """Empty a user's state, and hand over to another what is his."""
        found = isinstance(event, Identify) and not session.forgotten
        merge = merge_of(session, event) if isinstance(event, Identify) else None
        admit(session, event, (NOWHERE, number), self._rules)
        stones[session.user] = encode_tombstone(session, found=found)
        if merge is not None:
            touched.add(merge.user)
            self._one(number, merge, self._sessions[merge.user])

    def _one(self, number: int, event: Event, session: Session) -> None:
        """Fold one event of a user."""
        place = (NOWHERE, number)
        moment = admit(session, event, place, self._rules)
        if moment is None:
            return
        if not self._most or session.pace.at(moment.time) < self._most:
            self._tally.add(session, event, moment, number)
        advance(session, event, moment, place, self._rules)

    def _make_room(self) -> None:
        """Keep as many users' states as there is memory for."""
        if some := self._sessions.some(SAMPLED):
            size = sum(len(encode_session(one)) for one in some) / len(some) * SWOLLEN
            self._room = max(self._settings.session.cached, int(KEPT_BYTES / size))
        self._sessions.trim(self._room)

    def _read_sessions(self, users: Sequence[str]) -> Sequence[Session]:
        raws = self._store.get_many([self._keys.session(user) for user in users])
        stones = self._store.get_many([self._keys.forgotten(user) for user in users])
        return list(map(state_of, users, raws, stones))

    def _session(self, session: Session) -> Iterable[Plain]:
        life = life_of(session, self._store.ttl_ms)
        return [Plain(self._keys.session(session.user), encode_session(session), life)]

    def _load_items(self, items: Sequence[str]) -> Sequence[ItemState]:
        self._items.load(items)
        self._items.change(items)
        return [self._items[item] for item in items]

    def _read_items(self, items: Sequence[str]) -> Sequence[ItemState]:
        raws = self._store.get_many([self._keys.item_state(item) for item in items])
        return [
            decode_item_state(raw) if raw else ItemState(AsOf(-1, -1, 0), item)
            for item, raw in zip(items, raws, strict=True)
        ]

    def _item(self, state: ItemState) -> Iterable[Plain]:
        keys, life, kept = (
            self._keys,
            self._store.ttl_ms,
            KeptItem(state, self._settings.neighbours),
        )
        yield Plain(keys.item_state(state.item), kept.encode(), life)
        yield Plain(keys.neighbours(state.item), kept.encode_view(), life)

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
