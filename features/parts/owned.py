"""What a user has taken before, and how often: the basis of repeat consumption."""

from __future__ import annotations

from typing import ClassVar, Self

from features.parts.base import Moment, Part, Rules, Whole
from features.parts.history import History
from stream.events import Event, Interaction

__all__ = ["Entry", "Owned"]

Entry = tuple[Whole, Whole, Whole, Whole, Whole, Whole]


class Owned(Part):
    """Counts of positive interactions by item.

    Attributes
    ----------
    items
        Item id to the visits in which it was taken, the first time, then for the visit
        before the last (0 = none) and for the last: time, ordinal of the visit;
        least recently taken first.
    """

    heeds: ClassVar = (Interaction,)

    items: dict[str, Entry] = {}

    @classmethod
    def of(cls, history: History) -> Self:
        """Return what the positive interactions of a history come to."""
        owned = cls()
        rows = zip(history.items, history.times, history.visits, history.signs, strict=True)
        for item, time, visit, sign in rows:
            if sign > 0:
                owned._take(item, time, visit)
        return owned

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Count a positive interaction once a visit; forget the least recent item."""
        if not isinstance(event, Interaction) or moment.sign <= 0:
            return
        self._take(event.item, moment.time, moment.visit)
        while len(self.items) > rules.session.owned:
            del self.items[next(iter(self.items))]

    def _take(self, item: str, time: int, now: int) -> None:
        """Count an item taken at a time in a visit."""
        new = (0, time, 0, 0, 0, 0)
        count, first, earlier, earlier_visit, last, visit = self.items.pop(item, new)
        if visit != now:
            count, earlier, earlier_visit = count + 1, last, visit
        self.items[item] = (count, first, earlier, earlier_visit, max(last, time), now)
