"""What a user has taken before, and how often: the basis of repeat consumption."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from features.parts.base import Moment, Part, Rules, Whole
from stream.events import Event, Interaction

__all__ = ["Owned"]


class Owned(Part):
    """Counts of positive interactions by item.

    Attributes
    ----------
    items
        Item id to [visits in which it was taken, first time, then for the visit
        before the last (0 = none) and for the last: time, ordinal of the visit];
        least recently taken first.
    """

    items: dict[str, Annotated[list[Whole], Meta(min_length=6, max_length=6)]] = {}

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Count a positive interaction once a visit; forget the least recent item."""
        if not isinstance(event, Interaction) or moment.sign <= 0:
            return
        entry = self.items.pop(event.item, None)
        if entry is None:
            entry = [0, moment.time, 0, 0, 0, 0]
        if entry[5] != moment.visit:
            entry[0] += 1
            entry[2:4] = entry[4:6]
        entry[4:] = [max(entry[4], moment.time), moment.visit]
        self.items[event.item] = entry
        while len(self.items) > rules.session.owned:
            del self.items[next(iter(self.items))]
