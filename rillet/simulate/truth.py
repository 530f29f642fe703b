"""What somebody in the shop will touch next, and how surely: the planted truth.

The simulator draws from these very distributions, and the oracle reads them, so
the two cannot drift apart. The oracle knows what no recommender can: the true
taste, and for what a visitor came today. It is therefore an upper bound, and
what it misses is chance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from rillet.simulate.vocabulary import SHELVES
from rillet.simulate.world import COMPANIONS, Window, World

__all__ = ["Moment", "Session", "oracle_scores"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NOISE: Final = 0.2
"""Share of touches that follow fashion alone."""
FOLLOW: Final = 0.28
"""Share of touches that go on from the last item to one of its companions."""
RESTOCK: Final = 0.06
"""Share of touches on things used up and bought again, for who has such things."""
ACCIDENT: Final = 0.02
"""Chance of a click on an examined item that does not appeal at all."""
STYLE: Final = 1.7
"""How much a liked style weighs against popularity."""
RESERVE: Final = 1.8
"""The appeal at which an examined item is clicked every second time."""

COMPANION_WEIGHTS: Final = 1.0 / np.arange(1, COMPANIONS + 1) ** 0.7


@dataclass(frozen=True, slots=True)
class Moment:
    """All that decides the next touch: enough to recompute its distribution later.

    Attributes
    ----------
    kind
        ``pick`` of one's own will, ``noun`` after a search for one kind of thing,
        ``list`` for clicks in a shown list, ``again`` for a further deed on the same item.
    visitor, time
        Who, and how many milliseconds after the start.
    window
        Number of the two hours in which the session began.
    shelves
        Shelf numbers and their weights in this session's intent.
    last
        The item touched last in this session, -1 for none.
    visited
        Items touched in this session; they are not picked twice.
    owned
        Consumables bought before.
    noun
        What was searched for, -1 for nothing.
    page
        The shelf a list is about, -1 for the whole shop.
    """

    kind: Literal["pick", "noun", "list", "again"]
    visitor: int
    time: int
    window: int
    shelves: tuple[tuple[int, float], ...]
    last: int = -1
    visited: tuple[int, ...] = ()
    owned: tuple[int, ...] = ()
    noun: int = -1
    page: int = -1


@dataclass(slots=True)
class Session:
    """Choice within one session; keeps what it has computed about each shelf."""

    world: World
    visitor: int
    window: Window
    shelves: tuple[tuple[int, float], ...]
    _choices: dict[int, Floats] = field(default_factory=dict)
    _cumulated: dict[int, Floats] = field(default_factory=dict)

    def choice(self, shelf: int) -> Floats:
        """Return the chances of each item on sale on a shelf, given the shelf."""
        known = self._choices.get(shelf)
        if known is None:
            on_sale = slice(int(self.world.items.starts[shelf]), self.window.ends[shelf])
            known = np.exp(self.window.log_popularity[on_sale] + self._appeal(on_sale))
            known /= known.sum()
            self._choices[shelf] = known
        return known

    def cumulated(self, shelf: int) -> Floats:
        """Return the running sum of :meth:`choice`, to draw from."""
        known = self._cumulated.get(shelf)
        if known is None:
            known = self._cumulated[shelf] = self.choice(shelf).cumsum()
        return known

    def click_chance(self, numbers: Ints) -> Floats:
        """Return the chance of a click on each item, given that it is examined."""
        bonus = np.full(len(SHELVES), -3.0)
        for shelf, weight in self.shelves:
            bonus[shelf] = 1.2 * math.log(weight)
        appeal = self._appeal(numbers) + bonus[self.world.items.shelf[numbers]]
        chance: Floats = ACCIDENT + (1 - ACCIDENT) / (1 + np.exp(RESERVE - appeal))
        return chance

    def _appeal(self, where: slice | Ints) -> Floats:
        """Return how much items appeal to the visitor, popularity aside."""
        items, people, me = self.world.items, self.world.visitors, self.visitor
        first, second = people.makers[me]
        maker = items.maker[where]
        distance = items.dearness[where] - people.dearness[me]
        appeal: Floats = STYLE * (items.styles[where] @ people.styles[me])
        appeal -= 0.3 * distance * distance
        appeal += people.loyalty[me] * ((maker == first) | (maker == second))
        return appeal

    def follow_weights(self, last: int) -> tuple[Ints, Floats]:
        """Return the companions of an item that are on sale, and their weights."""
        companions = self.world.items.companions[last]
        live = self.window.popularity[companions] > 0
        return companions, COMPANION_WEIGHTS * live


def oracle_scores(world: World, moment: Moment) -> Floats:
    """Return for each item number the chance that it is the next one touched.

    For clicks in a list it is the chance before the list was drawn: that the
    item is shown, is examined and appeals, up to a common factor. Items not on
    sale score 0.
    """
    session = Session(world, moment.visitor, world.window(moment.window), moment.shelves)
    if moment.kind == "list":
        return _list_scores(session, moment)
    if moment.kind == "noun":
        return _noun_scores(session, moment)
    scores = _pick_scores(session, moment)
    if moment.kind == "again":
        scores *= 0.5
        scores[moment.last] = 0.5
    return scores


def _pick_scores(session: Session, moment: Moment) -> Floats:
    size = len(session.world.items.ids)
    gone = np.array(moment.visited, dtype=np.int64)
    intent = np.zeros(size)
    for shelf, weight in moment.shelves:
        start = int(session.world.items.starts[shelf])
        intent[start : session.window.ends[shelf]] += weight * session.choice(shelf)
    parts = [(NOISE, session.window.popularity.copy())]
    if moment.last >= 0:
        follow = np.zeros(size)
        companions, weights = session.follow_weights(moment.last)
        np.add.at(follow, companions, weights)
        parts.append((FOLLOW, follow))
    total, rest = np.zeros(size), 1.0
    for share, part in parts:
        part[gone] = 0.0
        if (mass := part.sum()) > 0:
            total += share / mass * part
            rest -= share
    if moment.owned:
        total[list(moment.owned)] += RESTOCK / len(moment.owned)
        rest -= RESTOCK
    intent[gone] = 0.0
    if (mass := intent.sum()) > 0:
        total += rest / mass * intent
    return total


def _noun_scores(session: Session, moment: Moment) -> Floats:
    items, shelf = session.world.items, moment.shelves[0][0]
    on_sale = slice(int(items.starts[shelf]), session.window.ends[shelf])
    scores = np.zeros(len(items.ids))
    scores[on_sale] = session.choice(shelf) * (items.noun[on_sale] == moment.noun)
    scores[list(moment.visited)] = 0.0
    mass = scores.sum()
    return scores / mass if mass > 0 else scores


def _list_scores(session: Session, moment: Moment) -> Floats:
    shown = session.window.shown
    scores = np.zeros(len(shown))
    if moment.page >= 0:
        start = int(session.world.items.starts[moment.page])
        place = np.arange(start, session.window.ends[moment.page])
    else:
        place = np.flatnonzero(shown)
    scores[place] = shown[place] * session.click_chance(place)
    scores[list(moment.visited)] = 0.0
    return scores
