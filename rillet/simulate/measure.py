"""How well the next item can be known in a made-up shop: oracle, popularity, chance.

The definition is that of the replay's ``next``: for each positive interaction
all items that have appeared by then are ranked; ties take their mean rank.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from rillet.simulate.truth import Moment, oracle_scores
from rillet.simulate.world import World
from stream.events import Identify, Interaction, Item

__all__ = ["HitRates", "Rates", "oracle_hit_rates"]

RANKERS: Final = ("oracle", "popularity", "random")


@dataclass
class Rates:
    """Mean hit rate and NDCG at k over ``count`` positives."""

    hr: float = 0.0
    ndcg: float = 0.0
    count: int = 0

    def add(self, hit: float, gain: float) -> None:
        """Take one more positive into the means."""
        self.count += 1
        self.hr += (hit - self.hr) / self.count
        self.ndcg += (gain - self.ndcg) / self.count


def _table() -> dict[str, Rates]:
    return {name: Rates() for name in RANKERS}


@dataclass
class HitRates:
    """What :func:`oracle_hit_rates` found.

    Attributes
    ----------
    k
        The length of the list.
    rates
        By ranker (``oracle``, ``popularity``, ``random``), over the sampled positives.
    fresh
        The same where the item is another than the actor's previous one: a
        purchase after a click on the same thing is easy to foresee.
    positives
        How many positive interactions the world has, sampled or not.
    cold_users, cold_items
        Share of all positives before which the actor, or the item, had none.
    """

    k: int
    rates: dict[str, Rates] = field(default_factory=_table)
    fresh: dict[str, Rates] = field(default_factory=_table)
    positives: int = 0
    cold_users: float = 0.0
    cold_items: float = 0.0

    def as_dict(self) -> dict[str, object]:
        """Return everything as plain dicts and numbers, for JSON."""
        return asdict(self)


def oracle_hit_rates(
    world: World, k: int = 10, sample: float = 1.0, *, skip: float = 0.0
) -> HitRates:
    """Run a world and measure how often the next item is among the best k.

    Parameters
    ----------
    world
        The world; it is run from its start.
    k
        The length of the list.
    sample
        Share of the positives that are measured, evenly spread; the others
        still count for popularity and for what is cold.
    skip
        Share of the time span at the beginning in which nothing is measured.

    Examples
    --------
    >>> found = oracle_hit_rates(World(seed=1, users=60, items=300, days=2), sample=0.5)
    >>> found.rates["oracle"].hr > found.rates["popularity"].hr > found.rates["random"].hr
    True
    """
    run = _Measurement(world, k, sample)
    begin = world.plan.start_ms + skip * world.span_ms
    for step in world.steps():
        event = step.event
        if isinstance(event, Item):
            run.appeared[world.numbers[event.item]] = True
        elif isinstance(event, Identify):
            run.identify(event)
        elif step.moment is not None and isinstance(event, Interaction):
            run.positive(event, step.moment, measured=event.timestamp >= begin)
    found = run.found
    found.cold_users /= max(found.positives, 1)
    found.cold_items /= max(found.positives, 1)
    return found


class _Measurement:
    def __init__(self, world: World, k: int, sample: float) -> None:
        self.world, self.sample = world, sample
        self.found = HitRates(k)
        self.counts = np.zeros(world.plan.items)
        self.appeared = np.zeros(world.plan.items, dtype=bool)
        self.previous: dict[str, int] = {}
        self._due = 0.0

    def identify(self, event: Identify) -> None:
        """Carry what the anonymous visitor did over to the user."""
        if event.anonymous in self.previous:
            self.previous[event.user] = self.previous.pop(event.anonymous)

    def positive(self, event: Interaction, moment: Moment, *, measured: bool) -> None:
        """Measure a positive before learning from it."""
        target, found = self.world.numbers[event.item], self.found
        self._due += self.sample
        if measured and self._due >= 1.0:
            self._measure(target, moment, self.previous.get(event.actor) != target)
        self._due -= self._due >= 1.0
        found.positives += 1
        found.cold_users += event.actor not in self.previous
        found.cold_items += self.counts[target] == 0
        self.counts[target] += 1
        self.previous[event.actor] = target

    def _measure(self, target: int, moment: Moment, fresh: bool) -> None:
        alive = int(self.appeared.sum())
        results = {
            "oracle": self._outcome(oracle_scores(self.world, moment), target),
            "popularity": self._outcome(self.counts, target),
            "random": _by_chance(alive, self.found.k),
        }
        for name, (hit, gain) in results.items():
            self.found.rates[name].add(hit, gain)
            if fresh:
                self.found.fresh[name].add(hit, gain)

    def _outcome(self, scores: NDArray[np.float64], target: int) -> tuple[float, float]:
        live = scores[self.appeared]
        mine = scores[target]
        rank = float((live > mine).sum() + ((live == mine).sum() - 1) / 2)
        hit = rank < self.found.k
        return float(hit), float(1 / np.log2(rank + 2)) if hit else 0.0


def _by_chance(alive: int, k: int) -> tuple[float, float]:
    """Return what a random order achieves on average."""
    places = np.arange(min(k, alive))
    return len(places) / alive, float((1 / np.log2(places + 2)).sum() / alive)
