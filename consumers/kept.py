"""What `personalize` keeps of its users between batches."""

from __future__ import annotations

from collections.abc import Iterable

from features.session import Session
from features.tombstone import state_of
from stream.keys import Keys
from stream.store import Store

__all__ = ["KeptSessions"]


class KeptSessions:
    """A write-through cache of users' states; valid while their partitions are owned.

    The users of the last batches come back soon, so ``most`` states are kept from batch to batch.
    """

    def __init__(self, store: Store, keys: Keys, most: int) -> None:
        self._store, self._keys, self._most = store, keys, most
        self._held: dict[str, Session] = {}

    def __getitem__(self, user: str) -> Session:
        """Return a loaded state."""
        return self._held[user]

    def load(self, users: Iterable[str]) -> None:
        """Read the states that are not held, in one go; unknown users get an empty one."""
        wanted = list(dict.fromkeys(users))
        missing = [user for user in wanted if user not in self._held]
        keys = [self._keys.session(user) for user in missing]
        keys += [self._keys.forgotten(user) for user in missing]
        raws = self._store.get_many(keys)
        for at, user in enumerate(missing):
            self._held[user] = state_of(user, raws[at], raws[at + len(missing)])
        for user in wanted:  # latest used last, so that trimming drops who was long away
            self._held[user] = self._held.pop(user)

    def trim(self) -> None:
        """Drop the users that were away the longest."""
        for user in list(self._held)[: max(0, len(self._held) - self._most)]:
            del self._held[user]

    def clear(self) -> None:
        """Drop everything."""
        self._held.clear()
