"""How fast a user goes: what tells a robot from a person."""

from __future__ import annotations

from typing import ClassVar, Final

from features.parts.base import Moment, Part, Rules, Whole
from stream.events import Event, Interaction, Merge, Ranking, Search, User

__all__ = ["MINUTE_MS", "Pace"]

MINUTE_MS: Final = 60_000


class Pace(Part):
    """Events of the newest minute.

    Attributes
    ----------
    minute
        Minutes since the epoch.
    events
        How many came in that minute; late ones count in it too.

    Examples
    --------
    >>> pace = Pace(minute=10, events=3)
    >>> pace.at(10 * MINUTE_MS + 59_999), pace.at(11 * MINUTE_MS)
    (3, 0)
    """

    heeds: ClassVar = (Interaction, Ranking, Search, User)

    minute: Whole = 0
    events: Whole = 0

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Count an event; a later minute begins anew. What Rillet itself hands over is none."""
        if isinstance(event, Merge):
            return
        minute = moment.time // MINUTE_MS
        if minute > self.minute:
            self.minute, self.events = minute, 1
        else:
            self.events += 1

    def at(self, time: int) -> int:
        """Return how many events came before one of this time (ms) that count with it."""
        return self.events if time // MINUTE_MS <= self.minute else 0
