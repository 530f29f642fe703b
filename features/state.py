"""What is remembered of one user, in its parts."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from features.card import AsOf
from features.parts.base import Ordinal, Whole
from features.parts.history import History
from features.parts.ignored import Ignored
from features.parts.impressions import Impressions
from features.parts.owned import Owned
from features.parts.pace import Pace
from features.parts.situation import Situation
from features.parts.windows import Windows

__all__ = ["PARTS", "Session", "new_session"]


class Session(Struct, omit_defaults=True):
    """Everything remembered of one user; one value in Redis (:mod:`features.stored`).

    Attributes
    ----------
    as_of
        Stamp of the last event folded in.
    visit, visit_id, visit_start
        Ordinal, id and start of the present session (visit).
    events, positives
        How many events, and how many positive ones, were folded.
    recent_ids
        Ids of the last 32 events, against duplicates.
    merged
        Anonymous visitor to the stamp of the last merge taken from him.
    forgotten
        Events at or before this time (epoch ms) are not folded: the user was forgotten.
    """

    as_of: AsOf
    user: str
    visit: Ordinal = 0
    visit_id: str = ""
    visit_start: Whole = 0
    events: Whole = 0
    positives: Whole = 0
    history: History = msgspec.field(default_factory=History)
    owned: Owned = msgspec.field(default_factory=Owned)
    ignored: Ignored = msgspec.field(default_factory=Ignored)
    windows: Windows = msgspec.field(default_factory=Windows)
    situation: Situation = msgspec.field(default_factory=Situation)
    impressions: Impressions = msgspec.field(default_factory=Impressions)
    pace: Pace = msgspec.field(default_factory=Pace)
    recent_ids: list[str] = []
    merged: dict[str, list[int]] = {}
    forgotten: Whole = 0


PARTS: Final = ("history", "owned", "ignored", "windows", "situation", "impressions", "pace")
"""The features, in fold order; a new one is a field of Session and a name here."""


def new_session(user: str) -> Session:
    """Return the state of a user nobody has heard of."""
    return Session(as_of=AsOf(-1, -1, 0), user=user)
