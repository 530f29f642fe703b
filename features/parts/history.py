"""The last interactions of a user, oldest first."""

from __future__ import annotations

from features.parts.base import Moment, Part, Rules
from stream.events import Event, Interaction

__all__ = ["History"]


class History(Part):
    """The last N interactions as parallel columns, oldest first.

    Attributes
    ----------
    items, times, types, visits
        Item id, epoch milliseconds, interaction type and session ordinal.
    signs
        1 for what was positive, -1 for what was negative, 0 for what was neither; a
        type's role may depend on the event's value.
    """

    items: list[str] = []
    times: list[int] = []
    types: list[str] = []
    visits: list[int] = []
    signs: list[int] = []

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Append an interaction; drop the oldest beyond ``session.history``."""
        if not isinstance(event, Interaction):
            return
        self.items.append(event.item)
        self.times.append(moment.time)
        self.types.append(event.type)
        self.visits.append(moment.visit)
        self.signs.append(moment.sign)
        if len(self.items) > rules.session.history:
            for column in (self.items, self.times, self.types, self.visits, self.signs):
                del column[0]
