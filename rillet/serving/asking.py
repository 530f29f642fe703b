"""The question that a request asks, from the state of its user as it lies in Redis."""

from __future__ import annotations

import logging
from dataclasses import replace

import msgspec

from features.contexts import Question, ask, meaning_of
from features.session import Session, decode_session, new_session
from rillet.serving.mirror import Mirror
from stream.errors import StoreError
from stream.keys import DEFAULT_USER
from stream.pseudonyms import pseudonyms_of
from stream.settings import Settings

__all__ = ["Asker"]

log = logging.getLogger(__name__)


class Asker:
    """Takes questions out of users' states.

    Parameters
    ----------
    settings
        All settings.
    mirror
        Reads states, and gives items their rows.

    Attributes
    ----------
    degraded
        Whether somebody counts as a stranger because Redis is away.
    """

    def __init__(self, settings: Settings, mirror: Mirror) -> None:
        self.degraded = False
        self._mirror, self._meaning = mirror, meaning_of(settings)
        self._keys, self._names = mirror.keys, pseudonyms_of(settings.privacy)
        self._gap_ms = int(settings.session.gap_s * 1000)

    def session(self, user: str | None, visitor: str | None) -> Session:
        """Return what is known of a user, else of a visitor; of a stranger an empty state."""
        for name in filter(None, (user, visitor)):
            for one in self._names.all_of(name) if name != DEFAULT_USER else ():
                try:
                    raw = self._mirror.read(self._keys.session(one))
                except StoreError:
                    self.degraded = True
                    return new_session("")
                if raw is not None and (found := _decoded(raw)) is not None and found.events:
                    return found
        return new_session("")

    def question(self, session: Session, query: str) -> Question:
        """Return what the user would take now, who has just asked for something.

        Now is the newest time that is known of anybody, as in lists: a live engine's is that
        of the clock, and in a shop that was replayed nothing has grown old.

        Parameters
        ----------
        session
            His state.
        query
            What he asks for; "" leaves it at his last query.
        """
        known = session.as_of.event_time
        now = max(known, self._mirror.view.world.stats.newest)
        visit = session.visit + (now - known > self._gap_ms)
        asked = ask(session, now, self._mirror.catalogue, self._meaning, visit=max(visit, 1))
        return replace(asked, query=query, asking=True) if query else asked


def _decoded(raw: bytes) -> Session | None:
    try:
        return decode_session(raw)
    except msgspec.MsgspecError as error:
        log.warning("a user's state cannot be read and counts as absent: %s", error)
        return None
