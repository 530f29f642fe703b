"""Counts and rates by window: how much a user does, and how often he takes what is shown."""

from __future__ import annotations

from functools import lru_cache
from typing import ClassVar, Final

from features.parts.base import DAY_MS, Moment, Part, Rules
from stream.events import Event, Interaction, Ranking, Search

__all__ = ["KEPT_DAYS", "Windows"]

KEPT_DAYS: Final = 30
MAX_NAMES: Final = 64
"""Names counted of a user; of more the first to come stay."""


@lru_cache(1024)
def _day(number: int) -> str:
    # One text for all who are there that day, whose states hold it some ten times.
    return str(number)


class Windows(Part):
    """Whole counts by type and day over the last 30 days, and over all time.

    Attributes
    ----------
    days
        Name to {day since the epoch (as text): count}. Names are the types of
        interaction, ``shown`` (items in lists), ``taken`` (positives) and ``search``;
        at most 64 of them.
    totals
        Name to the count over all time.

    Examples
    --------
    >>> windows = Windows(days={"click": {"10": 2, "19": 1}}, totals={"shown": 8, "taken": 3})
    >>> windows.count("click", days=7, now_ms=20 * DAY_MS)
    1
    >>> windows.rate(prior=0.1, strength=10)
    0.2222222222222222
    """

    heeds: ClassVar = (Interaction, Ranking, Search)

    days: dict[str, dict[str, int]] = {}
    totals: dict[str, int] = {}

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Count the event under its names; drop days out of the longest window."""
        day = _day(moment.time // DAY_MS)
        if isinstance(event, Interaction):
            self._add(event.type, 1, day)
            if moment.sign > 0:
                self._add("taken", 1, day)
        elif isinstance(event, Ranking):
            self._add("shown", len(event.items), day)
        elif isinstance(event, Search):
            self._add("search", 1, day)

    def _add(self, name: str, count: int, day: str) -> None:
        totals = self.totals
        total = totals.get(name)
        if total is None and len(totals) >= MAX_NAMES:
            return
        totals[name] = (total or 0) + count
        days = self.days.get(name)
        if days is None:
            days = self.days[name] = {}
        days[day] = days.get(day, 0) + count
        if len(days) > KEPT_DAYS:
            del days[min(days, key=int)]

    def count(self, name: str, *, days: int, now_ms: int) -> int:
        """Return how often ``name`` was counted in the last ``days`` days, today included."""
        first = now_ms // DAY_MS - days + 1
        return sum(n for day, n in self.days.get(name, {}).items() if int(day) >= first)

    def rate(self, *, prior: float, strength: float) -> float:
        """Return taken / shown, drawn to ``prior`` as if ``strength`` more had been shown."""
        taken, shown = self.totals.get("taken", 0), self.totals.get("shown", 0)
        return (min(taken, shown) + prior * strength) / (shown + strength)
