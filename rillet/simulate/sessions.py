"""What happens in the made-up shop: visits, lists, clicks, purchases, searches.

Every visit has an intent, a narrow taste within the visitor's taste, and goes
from item to item; see :mod:`rillet.simulate.truth` for the distributions.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Callable, Iterator
from itertools import accumulate, count
from typing import Final, NamedTuple

import numpy as np

from rillet.simulate.truth import COMPANION_WEIGHTS, FOLLOW, NOISE, RESTOCK, Moment, Session
from rillet.simulate.visits import Visit, schedule
from rillet.simulate.vocabulary import SHELVES, STYLES, query
from rillet.simulate.world import SHELF_NUMBER, Window, World
from stream.events import (
    Event,
    Field,
    Identify,
    Interaction,
    Millis,
    Ranking,
    Search,
    ShownItem,
    User,
)

__all__ = ["EXAMINATION", "LIST_LENGTH", "Step", "run"]

LIST_LENGTH: Final = 12
EXAMINATION: Final = tuple((place + 1) ** -0.7 for place in range(LIST_LENGTH))
"""The chance that a visitor looks at each place of a list: the position bias."""

LISTS: Final = 0.25
"""Chance that the next thing in a visit is a list shown by the shop."""
SEARCHES: Final = 0.06
_TRIES: Final = 12
_FOLLOW_RUNNING: Final = list(accumulate(COMPANION_WEIGHTS.tolist()))


class Step(NamedTuple):
    """One event, and for a positive interaction, or a search, the moment before it."""

    event: Event
    moment: Moment | None = None


class _Dice:
    """Uniform numbers, drawn in blocks because single draws are slow."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._block: list[float] = []

    def __call__(self) -> float:
        if not self._block:
            self._block = self.rng.random(4096).tolist()
        return self._block.pop()

    def normal(self) -> float:
        """Return a rough standard normal number (Irwin-Hall of four)."""
        return (self() + self() + self() + self() - 2.0) * 1.7320508

    def below(self, limit: int) -> int:
        """Return an integer from 0 to ``limit`` - 1."""
        return int(self() * limit)


def run(world: World) -> Iterator[Step]:
    """Yield every step of a world in time order; items come when they arrive."""
    dice = _Dice(np.random.default_rng([world.plan.seed, 3]))
    waiting: list[tuple[int, int, Step]] = []
    numbers, owned = count(), dict[int, dict[int, None]]()
    companions = world.items.companions.tolist()
    for time, opening in _openings(world):
        while waiting and waiting[0][0] < time:
            yield heapq.heappop(waiting)[2]
        if isinstance(opening, int):
            yield Step(world.item_event(opening))
            continue
        goods = owned.setdefault(opening.visitor, {})
        scene = _Scene(world, opening, dice, numbers, companions, goods)
        for at, step in scene.play():
            heapq.heappush(waiting, (at, next(numbers), step))
    while waiting:
        yield heapq.heappop(waiting)[2]


def _openings(world: World) -> Iterator[tuple[int, int | Visit]]:
    """Merge the arrivals of items (as numbers) and the beginnings of visits."""
    arrival = world.items.arrival
    order = np.argsort(arrival, kind="stable").tolist()
    items = ((int(arrival[number]), number) for number in order)
    visits = ((visit.time, visit) for visit in schedule(world))
    return heapq.merge(items, visits, key=lambda opening: opening[0])


class _Scene:
    """One visit being played; holds what has happened in it so far."""

    def __init__(
        self,
        world: World,
        visit: Visit,
        dice: _Dice,
        numbers: Iterator[int],
        companions: list[list[int]],
        owned: dict[int, None],
    ) -> None:
        self.world, self.visit, self.dice, self.numbers = world, visit, dice, numbers
        self.companions, self.owned = companions, owned
        self.window: Window = world.window_at(visit.time)
        self.time = visit.time
        self.last, self.visited = -1, list[int]()
        self.shelves = self._intent()
        self.session = Session(world, visit.visitor, self.window, self.shelves)
        self.steps: list[tuple[int, Step]] = []

    def _intent(self) -> tuple[tuple[int, float], ...]:
        """Choose for what the visitor came: one shelf above all, and what goes with it."""
        running = self.world.taste(self.visit.visitor, self.time).cumsum()
        main, other = (min(int(running.searchsorted(self.dice())), len(SHELVES) - 1) for _ in "12")
        weights = {main: 0.66}
        beside = [SHELF_NUMBER[name] for name in SHELVES[main].goes_with]
        for shelf, weight in [(other, 0.14), *((shelf, 0.1) for shelf in beside)]:
            weights[shelf] = weights.get(shelf, 0.0) + weight
        return tuple(weights.items())

    def play(self) -> list[tuple[int, Step]]:
        """Return everything that happens in the visit, with its times."""
        self._arrive()
        left = self.visit.length
        while left > 0:
            chance = self.dice()
            if chance < LISTS:
                left -= 1 + self._see_list()
            elif chance < LISTS + SEARCHES:
                left -= 1 + self._search()
            else:
                left -= 1
                self._choose()
        return self.steps

    def _choose(self) -> None:
        """Let the visitor open an item of his own accord, or buy again what he used up."""
        number = self._pick()
        if number in self.owned:
            self._wait(14)
            self._purchase(number, self._moment("pick"))
            self.visited.append(number)
            self.last = number
        else:
            self._touch(number, "pick", "view" if self.dice() < 0.4 else "click")

    def _stamp(self) -> Millis:
        return Millis(self.world.plan.start_ms + self.time)

    def _name(self, kind: str) -> str:
        return f"{kind}{next(self.numbers)}"

    def _wait(self, mean_s: float) -> None:
        """Let time pass: at least half a second, sometimes long."""
        self.time += 500 + int(-mean_s * 1000 * np.log1p(-self.dice()))

    def _add(self, event: Event, moment: Moment | None = None) -> None:
        self.steps.append((self.time, Step(event, moment)))

    def _arrive(self) -> None:
        visit = self.visit
        if visit.identifies and visit.user is not None:
            event = Identify(
                timestamp=self._stamp(),
                id=self._name("e"),
                user=visit.user,
                anonymous=visit.identifies,
            )
            self._add(event)
        if visit.introduces and visit.user is not None:
            fields = [Field("country", visit.country)]
            if visit.newsletter:
                fields.append(Field("newsletter", visit.newsletter))
            stamp, name = self._stamp(), self._name("e")
            self._add(User(timestamp=stamp, id=name, user=visit.user, fields=fields))

    def _moment(self, kind: str, noun: int = -1, page: int = -1) -> Moment:
        return Moment(
            kind,  # type: ignore[arg-type]
            self.visit.visitor,
            self.time,
            self.window.number,
            self.shelves,
            self.last,
            tuple(self.visited),
            tuple(self.owned),
            noun,
            page,
        )

    # -- choosing ---------------------------------------------------------------------------

    def _pick(self) -> int:
        """Draw the next item by the distribution of :func:`truth.oracle_scores`."""
        chance = self.dice()
        if chance < NOISE:
            return self._first_new(self._popular)
        if self.owned and chance < NOISE + RESTOCK:
            return list(self.owned)[self.dice.below(len(self.owned))]
        if self.last >= 0 and chance > 1 - FOLLOW:
            found = self._first_new(self._companion)
            if found >= 0:
                return found
        return self._first_new(self._intended)

    def _first_new(self, draw: Callable[[], int]) -> int:
        """Draw until the item is on sale and not yet visited; -1 if it does not come."""
        for _ in range(_TRIES):
            number = draw()
            if number >= 0 and number not in self.visited:
                return number
        return -1

    def _popular(self) -> int:
        return self._drawn(self.window.cumulated)

    def _drawn(self, running: np.ndarray[tuple[int], np.dtype[np.float64]]) -> int:
        return min(int(running.searchsorted(self.dice() * running[-1])), len(running) - 1)

    def _companion(self) -> int:
        place = bisect_left(_FOLLOW_RUNNING, self.dice() * _FOLLOW_RUNNING[-1])
        number = self.companions[self.last][place]
        shelf = int(self.world.items.shelf[number])
        return number if number < self.window.ends[shelf] else -1

    def _intended(self) -> int:
        chance = self.dice()
        shelf = self.shelves[-1][0]
        for shelf, weight in self.shelves:  # noqa: B007 - the last one stands if sums fall short
            chance -= weight
            if chance < 0:
                break
        return int(self.world.items.starts[shelf]) + self._drawn(self.session.cumulated(shelf))

    # -- acting -----------------------------------------------------------------------------

    def _interact(
        self,
        number: int,
        kind: str,
        moment: Moment | None,
        ranking: str | None = None,
        value: float | None = None,
    ) -> None:
        event = Interaction(
            timestamp=self._stamp(),
            id=self._name("e"),
            user=self.visit.user,
            session=self.visit.session,
            type=kind,
            item=self.world.items.ids[number],
            ranking=ranking,
            value=value,
        )
        self._add(event, moment)

    def _touch(
        self, number: int, cause: str, kind: str, ranking: str | None = None, **where: int
    ) -> None:
        """Let the visitor open an item, and do with it what people do."""
        if number < 0:
            return
        self._wait(14)
        self._interact(number, kind, self._moment(cause, **where), ranking)
        self.visited.append(number)
        self.last = number
        chance = self.dice()
        if chance < 0.07:
            self._dwell(number, ranking)
        elif chance < 0.1:
            self._further(number, "like", ranking)
        elif chance < 0.115:
            self._wait(5)
            self._interact(number, "dislike", None, ranking)
        elif chance < 0.175:
            self._buy(number, ranking)

    def _further(self, number: int, kind: str, ranking: str | None) -> None:
        self._wait(10)
        self._interact(number, kind, self._moment("again"), ranking)

    def _dwell(self, number: int, ranking: str | None) -> None:
        fit = float(self.session.click_chance(np.array([number]))[0])
        seconds = round(float(np.exp(2.2 + 1.5 * fit + 0.9 * self.dice.normal())), 1)
        self.time += int(seconds * 1000)
        moment = self._moment("again") if seconds >= 10 else None  # below it is a negative
        self._interact(number, "dwell", moment, ranking, seconds)

    def _buy(self, number: int, ranking: str | None) -> None:
        self._further(number, "cart", ranking)
        consumable = SHELVES[self.world.items.shelf[number]].consumable
        if self.dice() < (0.65 if consumable else 0.4):
            self._wait(10)
            self._purchase(number, self._moment("again"), ranking)
            if consumable:
                self.owned.pop(number, None)
                self.owned[number] = None
                if len(self.owned) > 20:
                    del self.owned[next(iter(self.owned))]

    def _purchase(self, number: int, moment: Moment, ranking: str | None = None) -> None:
        price = round(float(self.world.items.price[number]), 2)
        self._interact(number, "purchase", moment, ranking, price)

    def _search(self) -> int:
        """Type a query and open what matches it; return how many items were opened."""
        shelf = self.shelves[0][0]
        nouns = SHELVES[shelf].nouns
        noun = self.dice.below(len(nouns))
        style = STYLES[int(self.world.visitors.styles[self.visit.visitor].argmax())]
        self._wait(8)
        event = Search(
            timestamp=self._stamp(),
            id=self._name("e"),
            user=self.visit.user,
            session=self.visit.session,
            query=query(nouns[noun], style, self.dice.below(8)),
        )
        self._add(event, self._moment("noun", noun=noun))
        start, end = int(self.world.items.starts[shelf]), self.window.ends[shelf]
        weights = self.session.choice(shelf) * (self.world.items.noun[start:end] == noun)
        opened = 0
        for _ in range(self.dice.below(3)):
            weights[[n - start for n in self.visited if start <= n < end]] = 0.0
            if weights.sum() <= 0:
                break
            self._touch(start + self._drawn(weights.cumsum()), "noun", "click", noun=noun)
            opened += 1
        return opened

    def _see_list(self) -> int:
        """Be shown a list and click what is looked at and appeals; return the clicks."""
        page = self.shelves[0][0] if self.dice() < 0.6 else -1
        numbers, chances = self._draw_list(page)
        self._wait(6)
        name = self._name("r")
        shown = [
            ShownItem(self.world.items.ids[number], propensity=chance)
            for number, chance in zip(numbers, chances, strict=True)
        ]
        place = SHELVES[page].name if page >= 0 else "home"
        event = Ranking(
            timestamp=self._stamp(),
            id=name,
            user=self.visit.user,
            session=self.visit.session,
            items=shown,
            fields=[Field("page", place), Field("device", self.visit.device)],
        )
        self._add(event)
        tempting = self.session.click_chance(np.array(numbers)).tolist()
        clicks = 0
        for number, chance, seen in zip(numbers, tempting, EXAMINATION, strict=False):
            if self.dice() < chance * seen and number not in self.visited:
                self._touch(number, "list", "click", name, page=page)
                clicks += 1
        return clicks

    def _draw_list(self, page: int) -> tuple[list[int], list[float]]:
        """Draw a list without repetition, with each item's chance given those above it."""
        low, high = 0, len(self.window.shown)
        if page >= 0:
            low, high = int(self.world.items.starts[page]), self.window.ends[page]
        running = self.window.shown_cumulated
        before = float(running[low - 1]) if low else 0.0
        left = whole = float(running[high - 1]) - before
        chances: dict[int, float] = {}
        draws = before + whole * self.dice.rng.random(4 * LIST_LENGTH)
        for number in running.searchsorted(draws).tolist():
            if number not in chances and low <= number < high:
                weight = float(self.window.shown[number])
                chances[number] = round(weight / left, 8)
                left -= weight
                if len(chances) == LIST_LENGTH:
                    break
        return list(chances), list(chances.values())
