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
    """

    items: list[str] = []
    times: list[int] = []
    types: list[str] = []
    visits: list[int] = []

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Append an interaction; drop the oldest beyond ``session.history``."""
        if not isinstance(event, Interaction):
            return
        columns = (self.items, self.times, self.types, self.visits)
        for column, value in zip(
            columns, (event.item, moment.time, event.type, moment.visit), strict=True
        ):
            column.append(value)  # type: ignore[attr-defined]
            if len(column) > rules.session.history:
                del column[0]
