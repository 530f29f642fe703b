"""Users' states as they were at a moment: what a system knows of them that runs now and then."""

from __future__ import annotations

from features.session import Session, decode_session, new_session
from stream.store import Store

__all__ = ["Snapshot"]


class Snapshot:
    """The states of all users, as they are in Redis when it is made.

    Parameters
    ----------
    store
        Where they lie.
    """

    def __init__(self, store: Store) -> None:
        self._raws = dict(store.scan("session"))
        self._read: dict[str, Session] = {}

    def __call__(self, user: str) -> Session:
        """Return a user's state of then; an empty one of who came later."""
        if user not in self._read:
            raw = self._raws.get(user)
            self._read[user] = decode_session(raw) if raw else new_session(user)
        return self._read[user]
