"""What users did, folded into states by one who is alone with a Redis: an import.

States are written when there is no more room for them, or at the end: a user comes back in a
long history many times, and an item in each step.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from consumers.held import Held
from consumers.neighbours import CACHED
from features.card import AsOf
from features.parts.base import Rules
from features.session import Session, admit, advance, encode_session, merge_of
from features.tombstone import encode_tombstone, life_of, state_of
from models.item_state import ItemState, decode_item_state
from models.kept_item import KeptItem
from models.tally import Tally
from stream.events import Delete, Event, Identify
from stream.keys import Keys
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

__all__ = ["NOWHERE", "Deed", "Deeds", "names_of"]

NOWHERE: Final = -1
"""The partition of what was imported. Redis compares stamps of one partition, and reads none of
this number: whatever comes is written over it."""

KEPT_BYTES: Final = 768 << 20
"""Memory for users' states, where these are more than `session.cached`."""

SWOLLEN: Final = 8
"""Bytes of memory that a stored byte of a state takes."""

SAMPLED: Final = 200
"""States by which it is reckoned after each step how much memory one takes."""

Deed = tuple[int, Event, str]
"""A line's number, its event, and whose it is."""


def names_of(deed: Deed) -> tuple[str, ...]:
    """Return whose states an event changes."""
    _, event, user = deed
    return (user, event.user) if isinstance(event, Identify) else (user,)


class Deeds:
    """Folds users' events into their states and into items' statistics.

    Parameters
    ----------
    settings
        All settings.
    store
        Where states are read from and written to.
    """

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._keys = Keys(settings.redis.prefix)
        self._rules = Rules(settings.session, settings.interactions)
        self._sessions = Held(store, self._read_sessions, self._session)
        self._items = Held(store, self._read_items, self._item)
        self._tally = Tally(settings.neighbours, NOWHERE)
        self._most = settings.limits.user_events_per_minute
        self._stones: dict[str, bytes] = {}
        self.room = settings.session.cached

    def fold(self, deeds: Sequence[Deed]) -> set[str]:
        """Fold events in their order; return the users whose states they changed.

        More than :attr:`room` users' states are held meanwhile if the events are of so many.
        """
        touched = {user for _, _, user in deeds}
        others = {event.user for _, event, _ in deeds if isinstance(event, Identify)}
        self._sessions.load(touched | others)
        sessions = self._sessions.held
        for number, event, user in deeds:
            if isinstance(event, Identify | Delete):
                touched.update(self._leave(number, event, sessions[user]))
            else:
                self._one(number, event, sessions[user])
        for state in self._tally.fold(self._load_items):
            state.as_of = AsOf(NOWHERE, deeds[-1][0], state.newest)
        self._items.trim(CACHED)
        self._bury()
        self._sessions.change(touched)
        self._make_room()
        return touched

    def end(self) -> None:
        """Write whatever is not written."""
        self._items.trim(0)
        self._sessions.trim(0)

    def _leave(self, number: int, event: Identify | Delete, session: Session) -> Iterable[str]:
        """Empty a user's state, and hand over what was his; return to whom."""
        merge = merge_of(session, event) if isinstance(event, Identify) else None
        found = isinstance(event, Identify) and not session.forgotten
        admit(session, event, (NOWHERE, number), self._rules)
        self._stones[session.user] = encode_tombstone(session, found=found)
        if merge is None:
            return ()
        self._one(number, merge, self._sessions.held[merge.user])
        return (merge.user,)

    def _one(self, number: int, event: Event, session: Session) -> None:
        """Fold one event of a user."""
        place = (NOWHERE, number)
        moment = admit(session, event, place, self._rules)
        if moment is None:
            return
        if not self._most or session.pace.at(moment.time) < self._most:
            self._tally.add(session, event, moment, number)
        advance(session, event, moment, place, self._rules)

    def _bury(self) -> None:
        life = int(self._settings.privacy.tombstone_days * 86_400_000)
        named = self._keys.forgotten
        plain = [Plain(named(user), raw, life) for user, raw in self._stones.items()]
        self._stones.clear()
        self._store.write_plain(plain)

    def _make_room(self) -> None:
        """Keep as many users' states as there is memory for."""
        if some := self._sessions.some(SAMPLED):
            size = sum(len(encode_session(one)) for one in some) / len(some) * SWOLLEN
            self.room = max(self._settings.session.cached, int(KEPT_BYTES / size))
        self._sessions.trim(self.room)

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
        return [self._items.held[item] for item in items]

    def _read_items(self, items: Sequence[str]) -> Sequence[ItemState]:
        raws = self._store.get_many([self._keys.item_state(item) for item in items])
        return [
            decode_item_state(raw) if raw else ItemState(AsOf(-1, -1, 0), item)
            for item, raw in zip(items, raws, strict=True)
        ]

    def _item(self, state: ItemState) -> Iterable[Plain]:
        kept, life = KeptItem(state, self._settings.neighbours), self._store.ttl_ms
        yield Plain(self._keys.item_state(state.item), kept.encode(), life)
        yield Plain(self._keys.neighbours(state.item), kept.encode_view(), life)
