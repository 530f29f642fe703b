"""What was shown to a user and left alone: fatigue."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from msgspec import Meta

from features.parts.base import Moment, Part, Rules, Whole
from stream.events import Event, Interaction, Ranking

__all__ = ["Ignored"]


class Ignored(Part):
    """Items shown and not taken since.

    Attributes
    ----------
    items
        Item id to [times shown, last time]; least recently shown first.
    latest
        When the last list was shown, epoch milliseconds; it may still lie before his eyes.
    """

    items: dict[str, Annotated[list[Whole], Meta(min_length=2, max_length=2)]] = {}
    latest: Whole = 0

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Count a shown list; an item the user touches is ignored no more."""
        if isinstance(event, Interaction):
            self.items.pop(event.item, None)
        elif isinstance(event, Ranking):
            items, time = self.items, moment.time
            self.latest = max(self.latest, time)
            for shown in event.items:
                entry = items.pop(shown.id, None)
                if entry is None:
                    entry = [0, time]
                entry[0] += 1
                if entry[1] < time:
                    entry[1] = time
                items[shown.id] = entry
            if (most := len(items) - rules.session.ignored) > 0:
                for item in list(islice(items, most)):
                    del items[item]
