"""The last interactions of a user, oldest first."""

from __future__ import annotations

from collections.abc import Container
from typing import Annotated, ClassVar

from msgspec import Meta

from features.parts.base import Moment, Ordinal, Part, Rules, Whole
from stream.events import Event, Interaction

__all__ = ["History", "Sign"]

Sign = Annotated[int, Meta(ge=-1, le=1)]
"""1 for what was positive, -1 for what was negative, 0 for what was neither."""


class History(Part):
    """The last N interactions as parallel columns, oldest first.

    Attributes
    ----------
    items, times, types, visits
        Item id, epoch milliseconds, interaction type and session ordinal.
    signs
        Of each, for a type's role may depend on the event's value.
    """

    heeds: ClassVar = (Interaction,)

    items: list[str] = []
    times: list[Whole] = []
    types: list[str] = []
    visits: list[Ordinal] = []
    signs: list[Sign] = []

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

    def uneven(self) -> str:
        """Name the first column that is not as long as ``items``; "" where all are."""
        columns = (self.times, self.types, self.visits, self.signs)
        if all(len(column) == len(self.items) for column in columns):
            return ""
        names = self.__struct_fields__
        return next(name for name in names if len(getattr(self, name)) != len(self.items))

    def even(self, taken: Container[str]) -> None:
        """Make all columns of one length, the latest interactions being known best.

        A column that another version did not write begins where this one took
        over, so columns meet at their ends. What is missing of a visit is taken
        for the one before, of a sign for positive where the item was ever taken.

        Parameters
        ----------
        taken
            Items that were taken, as far as is remembered.
        """
        length = min(len(self.items), len(self.times), len(self.types))
        for column in (self.items, self.times, self.types, self.visits, self.signs):
            del column[: max(0, len(column) - length)]
        visit = max(0, self.visits[0] - 1) if self.visits else 0
        self.visits[:0] = [visit] * (length - len(self.visits))
        unsigned = self.items[: length - len(self.signs)]
        self.signs[:0] = [int(item in taken) for item in unsigned]
