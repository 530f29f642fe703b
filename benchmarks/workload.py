"""What is measured with: a made-up shop's log, cut into a warm-up and rounds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rillet.simulate import Plan, World
from stream.errors import RilletError
from stream.events import Event, Item

__all__ = ["Sizes", "Workload", "categories_of", "cut"]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How big the shop is and how much of its log is used.

    Attributes
    ----------
    users, items, days, seed
        As of ``rillet simulate``.
    warm
        Events before anything is measured.
    rounds, events
        How many rounds, and how many events in each.
    """

    users: int = 3000
    items: int = 10_000
    days: float = 14.0
    seed: int = 7
    warm: int = 40_000
    rounds: int = 5
    events: int = 4000

    def world(self) -> World:
        """Return the shop."""
        return World(Plan(seed=self.seed, users=self.users, items=self.items, days=self.days))

    def as_dict(self) -> dict[str, Any]:
        """Return the sizes as plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Workload:
    """The log of a shop: the catalogue, and what users do, of which some is left over."""

    items: list[Item]
    warm: list[Event]
    rounds: list[list[Event]]
    rest: list[Event]


def cut(sizes: Sizes) -> Workload:
    """Run a shop and cut its log; all items come first, whenever they arrived.

    Raises
    ------
    RilletError
        The shop is too quiet for so many rounds.
    """
    items: list[Item] = []
    events: list[Event] = []
    for event in sizes.world().events():
        if isinstance(event, Item):
            items.append(event)
        else:
            events.append(event)
    wanted = sizes.warm + sizes.rounds * sizes.events
    if len(events) < wanted:
        message = f"the shop has {len(events):,} events, {wanted:,} are needed"
        raise RilletError(message, "take more users or days, or fewer rounds")
    starts = range(sizes.warm, wanted, sizes.events)
    rounds = [events[start : start + sizes.events] for start in starts]
    return Workload(items, events[: sizes.warm], rounds, events[wanted:])


def categories_of(items: Sequence[Item]) -> dict[str, str]:
    """Return each item's last, narrowest category.

    Examples
    --------
    >>> from stream.events import Field, Millis
    >>> tea = Item(timestamp=Millis(0), item="i1", fields=[Field("categories", ["home", "tea"])])
    >>> categories_of([tea])
    {'i1': 'tea'}
    """
    found = {}
    for item in items:
        for field in item.fields:
            if field.name == "categories" and isinstance(field.value, list) and field.value:
                found[item.item] = str(field.value[-1])
    return found
