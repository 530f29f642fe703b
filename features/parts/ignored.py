"""What was shown to a user and left alone: fatigue."""

from __future__ import annotations

from itertools import islice
from typing import ClassVar

from features.parts.base import Moment, Part, Rules, Whole
from stream.events import Event, Interaction, Ranking

__all__ = ["Ignored", "Shown"]

Shown = tuple[Whole, Whole]
"""How often an item was shown, and when last."""


class Ignored(Part):
    """Items shown and not taken since.

    Attributes
    ----------
    items
        Item id to times shown and last time; least recently shown first.
    latest
        When the last list was shown, epoch milliseconds; it may still lie before his eyes.
    """

    heeds: ClassVar = (Interaction, Ranking)

    items: dict[str, Shown] = {}
    latest: Whole = 0

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Count a shown list; an item the user touches is ignored no more."""
        if isinstance(event, Interaction):
            self.items.pop(event.item, None)
        elif isinstance(event, Ranking):
            items, time = self.items, moment.time
            self.latest = max(self.latest, time)
            once = (1, time)
            for shown in event.items:
                before = items.pop(shown.id, None)
                items[shown.id] = once if before is None else (before[0] + 1, max(before[1], time))
            if (most := len(items) - rules.session.ignored) > 0:
                for item in list(islice(items, most)):
                    del items[item]
