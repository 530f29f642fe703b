"""What a user has taken before, and how often: the basis of repeat consumption."""

from __future__ import annotations

from features.parts.base import Moment, Part, Rules, Whole
from stream.events import Event, Interaction

__all__ = ["Owned"]


class Owned(Part):
    """Counts of positive interactions by item.

    Attributes
    ----------
    items
        Item id to the visits in which it was taken, the first time, then for the visit
        before the last (0 = none) and for the last: time, ordinal of the visit;
        least recently taken first.
    """

    items: dict[str, tuple[Whole, Whole, Whole, Whole, Whole, Whole]] = {}

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Count a positive interaction once a visit; forget the least recent item."""
        if not isinstance(event, Interaction) or moment.sign <= 0:
            return
        new = (0, moment.time, 0, 0, 0, 0)
        count, first, earlier, earlier_visit, last, visit = self.items.pop(event.item, new)
        if visit != moment.visit:
            count, earlier, earlier_visit = count + 1, last, visit
        last = max(last, moment.time)
        self.items[event.item] = (count, first, earlier, earlier_visit, last, moment.visit)
        while len(self.items) > rules.session.owned:
            del self.items[next(iter(self.items))]
