"""The last lists shown to a user, and what he took of them."""

from __future__ import annotations

from typing import ClassVar, Final

from features.parts.base import Moment, Ordinal, Part, Rules, Whole
from stream.events import Event, Interaction, Ranking

__all__ = ["MAX_LISTS", "MAX_SHOWN", "Impressions"]

MAX_SHOWN: Final = 128
"""Shown items remembered of a user; a longer list keeps its first ones."""

MAX_LISTS: Final = 12
"""Shown lists remembered of a user."""


class Impressions(Part):
    """The last shown lists as parallel columns, oldest first.

    A list is kept whole or not at all, so that an item's place in it is its
    position as shown. A list without an id is not kept: no click can name it.

    Attributes
    ----------
    lists, times
        Id of each list and when it was shown, epoch milliseconds.
    items
        Ids of its items, in shown order.
    taken
        Positions of those that were taken, in the order of taking.
    """

    heeds: ClassVar = (Interaction, Ranking)

    lists: list[str] = []
    times: list[Whole] = []
    items: list[list[str]] = []
    taken: list[list[Ordinal]] = []

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Append a shown list, or mark in its list what was taken."""
        if isinstance(event, Ranking):
            self._show(event, moment)
        elif (
            isinstance(event, Interaction)
            and moment.sign > 0
            and event.ranking is not None
            and event.ranking in self.lists
        ):
            place = self.lists.index(event.ranking)
            items, taken = self.items[place], self.taken[place]
            if event.item in items and (at := items.index(event.item)) not in taken:
                taken.append(at)

    def _show(self, event: Ranking, moment: Moment) -> None:
        if not event.id or not event.items or event.id in self.lists:
            return
        self.lists.append(event.id)
        self.times.append(moment.time)
        self.items.append([shown.id for shown in event.items[:MAX_SHOWN]])
        self.taken.append([])
        self._forget()

    def absorb(self, other: Impressions) -> None:
        """Take over another visitor's lists, in order of time; a list known already stays."""
        mine = zip(self.times, self.lists, self.items, self.taken, strict=True)
        his = zip(other.times, other.lists, other.items, other.taken, strict=True)
        known = set(self.lists)
        rows = sorted([*mine, *(row for row in his if row[1] not in known)], key=lambda row: row[0])
        self.times, self.lists, self.items, self.taken = (
            [row[0] for row in rows],
            [row[1] for row in rows],
            [row[2] for row in rows],
            [row[3] for row in rows],
        )
        self._forget()

    def uneven(self) -> str:
        """Name the first column that is not as long as ``lists``, or points beyond a list."""
        names = self.__struct_fields__
        uneven = (name for name in names if len(getattr(self, name)) != len(self.lists))
        if name := next(uneven, ""):
            return name
        pairs = zip(self.items, self.taken, strict=True)
        beyond = any(taken and max(taken) >= len(items) for items, taken in pairs)
        return "taken" if beyond else ""

    def _forget(self) -> None:
        """Let the oldest lists go, whole, until what is left fits."""
        shown = sum(map(len, self.items))
        gone = 0
        while shown > MAX_SHOWN or len(self.lists) - gone > MAX_LISTS:
            shown -= len(self.items[gone])
            gone += 1
        del self.lists[:gone], self.times[:gone], self.items[:gone], self.taken[:gone]
