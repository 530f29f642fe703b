"""The made-up shop as it stands before anybody comes in: its items and its visitors.

Everything here is drawn once from the seed and never changes; what changes
with time (what has arrived, what is in fashion, how far a taste has drifted)
is a function of the time. Items are numbered shelf by shelf, and on a shelf in
the order of arrival, so that what is on sale at any time is the head of each shelf.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from rillet.simulate.vocabulary import MAKERS, SHELVES, STYLES, compose
from stream.errors import RilletError
from stream.events import Event, Field, Item, Millis

if TYPE_CHECKING:
    from rillet.simulate.sessions import Step

__all__ = ["DAY_MS", "SHELF_NUMBER", "Items", "Plan", "Visitors", "Window", "World"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_MS: Final = 86_400_000
WINDOW_MS: Final = 7_200_000
"""New items come on sale, and fashions move, at the full two hours."""

LATE_ITEMS: Final = 0.25
"""Share of the catalogue that arrives after the start."""
PRESENT: Final = 0.4
"""Share of the visitors who know the shop from the start; the others come later."""
ZIPF: Final = 0.75
FRESHNESS: Final = 1.0
"""How much a new item gains in log popularity; fades with a time of two days."""
COMPANIONS: Final = 8

SHELF_NUMBER: Final = {shelf.name: number for number, shelf in enumerate(SHELVES)}


@dataclass(frozen=True)
class Plan:
    """What a world is made from; the same plan gives the same world, byte for byte."""

    seed: int = 7
    users: int = 2000
    items: int = 3000
    days: float = 14.0
    start_ms: int = 1_767_225_600_000
    """Midnight UTC, 1 January 2026."""

    def __post_init__(self) -> None:
        if self.items < 10 * len(SHELVES) or self.users < 1 or self.days <= 0:
            message = f"{self.users} users, {self.items} items, {self.days} days make no world"
            raise RilletError(message, f"take at least {10 * len(SHELVES)} items and one user")
        if self.seed < 0:
            raise RilletError("a seed cannot be negative", "take --seed 0 or above")


@dataclass(frozen=True)
class Items:
    """The catalogue as arrays over item numbers."""

    ids: list[str]
    shelf: Ints
    noun: Ints
    style: Ints
    styles: Floats
    """[items, styles]: how much of each style an item has."""
    price: Floats
    dearness: Floats
    """Price against the shelf's others, in standard deviations of the logarithm."""
    maker: Ints
    log_popularity: Floats
    trend: Floats
    arrival: Ints
    """Milliseconds after the start; 0 = there from the start."""
    starts: Ints
    """[shelves + 1]: the number of each shelf's first item."""
    companions: Ints
    """[items, COMPANIONS]: what people look at next."""


@dataclass(frozen=True)
class Visitors:
    """The people as arrays over visitor numbers; their tastes are what a model should find."""

    first_taste: Floats
    """[visitors, shelves], rows sum to 1: the taste at the start."""
    last_taste: Floats
    """The taste towards which it drifts."""
    styles: Floats
    dearness: Floats
    makers: Ints
    loyalty: Floats
    joined: Ints
    rate: Floats
    """Visits a day."""
    kind: Ints
    """0 logs in at once; 1 comes anonymously and logs in later; 2 never logs in."""


@dataclass(frozen=True)
class Window:
    """Two hours of the shop: what is on sale and how popular it is."""

    number: int
    ends: list[int]
    """Per shelf the number after its last item on sale."""
    log_popularity: Floats
    popularity: Floats
    """Sums to 1 over what is on sale, 0 elsewhere."""
    cumulated: Floats
    shown: Floats
    """The weights of the policy that fills lists."""
    shown_cumulated: Floats


class World:
    """A shop with its visitors, and the truth about them.

    Parameters
    ----------
    plan
        Sizes and seed; or give its fields by name: ``World(seed=3, users=100)``.

    Examples
    --------
    >>> world = World(seed=3, users=20, items=300, days=1)
    >>> events = list(world.events())
    >>> events == list(World(seed=3, users=20, items=300, days=1).events())
    True
    """

    def __init__(self, plan: Plan | None = None, **fields: Any) -> None:
        self.plan = plan or Plan(**fields)
        self.items = _draw_items(self.plan)
        self.visitors = _draw_visitors(self.plan)
        self.window = lru_cache(maxsize=64)(self._window)

    @property
    def span_ms(self) -> int:
        """Return how long the world runs, in milliseconds."""
        return int(self.plan.days * DAY_MS)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Return the number of each item by its id."""
        return {name: number for number, name in enumerate(self.items.ids)}

    def steps(self) -> Iterator[Step]:
        """Run the world: every event in time order, with what only the world knows."""
        from rillet.simulate.sessions import run

        return run(self)

    def events(self) -> Iterator[Event]:
        """Run the world and yield the events alone."""
        return (step.event for step in self.steps())

    def taste(self, visitor: int, time: int) -> Floats:
        """Return a visitor's taste over the shelves at a time after the start."""
        share = 0.7 * time / self.span_ms
        people = self.visitors
        mixed: Floats = (1 - share) * people.first_taste[visitor]
        mixed += share * people.last_taste[visitor]
        return mixed

    def window_at(self, time: int) -> Window:
        """Return the two hours around a time after the start."""
        return self.window(time // WINDOW_MS)

    def _window(self, number: int) -> Window:
        items, now = self.items, number * WINDOW_MS
        live = items.arrival <= now
        age = (now - items.arrival) / DAY_MS
        fresh = np.where(items.arrival > 0, FRESHNESS * np.exp(-np.abs(age) / 2), 0.0)
        log_popularity = items.log_popularity + fresh + items.trend * now / self.span_ms
        weights = np.where(live, np.exp(log_popularity), 0.0)
        popularity = weights / weights.sum()
        shown = 0.75 * popularity + 0.25 * live / live.sum()
        bounds = items.starts
        ends = [int(a + live[a:b].sum()) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
        return Window(
            number, ends, log_popularity, popularity, popularity.cumsum(), shown, shown.cumsum()
        )

    def item_event(self, number: int) -> Item:
        """Return the event that announces an item."""
        items = self.items
        shelf, style = SHELVES[items.shelf[number]], STYLES[items.style[number]]
        noun, maker = shelf.nouns[items.noun[number]], MAKERS[items.maker[number]]
        salt = int(items.ids[number][1:]) * 7919
        draws = (salt % 4, salt % 3, salt % 12)
        title, description = compose(shelf, style, noun, maker, draws)
        fields = [
            Field("title", title),
            Field("description", description),
            Field("categories", [shelf.department, shelf.name]),
            Field("brand", maker),
            Field("price", round(float(items.price[number]), 2)),
        ]
        time = Millis(self.plan.start_ms + int(items.arrival[number]))
        name = items.ids[number]
        return Item(timestamp=time, id=f"item-{name}", item=name, fields=fields)


def _draw_items(plan: Plan) -> Items:
    rng = np.random.default_rng([plan.seed, 1])
    count, span = plan.items, int(plan.days * DAY_MS)
    late = rng.random(count) < LATE_ITEMS
    arrival = np.where(late, rng.integers(1, span, count), 0)
    shelf = rng.choice(len(SHELVES), count, p=rng.dirichlet(np.full(len(SHELVES), 12.0)))
    shelf[: len(SHELVES)], arrival[: len(SHELVES)] = np.arange(len(SHELVES)), 0
    order = np.lexsort((arrival, shelf))
    shelf, arrival = shelf[order], arrival[order]
    style, styles = _draw_styles(rng, count)
    dearness = rng.normal(size=count) + 0.9 * (style == _style("luxury"))
    medians = np.array([one.price for one in SHELVES])
    departments = [one.department for one in SHELVES]
    home = np.array([departments.index(one) for one in departments])[shelf]
    maker = (home * 3 + rng.geometric(0.25, count)) % len(MAKERS)
    labels = rng.permutation(count) + 1
    width = len(str(count))
    starts = np.searchsorted(shelf, np.arange(len(SHELVES) + 1))
    log_popularity = -ZIPF * np.log(rng.permutation(count) + 5.0)
    return Items(
        ids=[f"i{label:0{width}d}" for label in labels.tolist()],
        shelf=shelf,
        noun=rng.integers(0, min(len(one.nouns) for one in SHELVES), count),
        style=style,
        styles=styles,
        price=medians[shelf] * np.exp(0.4 * dearness),
        dearness=dearness,
        maker=maker,
        log_popularity=log_popularity,
        trend=rng.normal(0, 0.4, count),
        arrival=arrival,
        starts=starts,
        companions=_draw_companions(rng, shelf, starts, styles, log_popularity),
    )


def _style(name: str) -> int:
    return [style.name for style in STYLES].index(name)


def _draw_styles(rng: np.random.Generator, count: int) -> tuple[Ints, Floats]:
    """Give each item a style, a touch of a second one, and some noise that no text tells."""
    main, second = rng.integers(0, len(STYLES), (2, count))
    styles = rng.normal(0, 0.15, (count, len(STYLES)))
    rows = np.arange(count)
    styles[rows, second] += 0.3
    styles[rows, main] += 0.9
    return main, styles


def _draw_companions(
    rng: np.random.Generator, shelf: Ints, starts: Ints, styles: Floats, log_popularity: Floats
) -> Ints:
    """Choose what follows each item: on shelves that go with its own, in a like style."""
    companions = np.empty((len(shelf), COMPANIONS), dtype=np.int64)
    for number, kind in enumerate(SHELVES):
        first, last = int(starts[number]), int(starts[number + 1])
        targets = [number, *(SHELF_NUMBER[name] for name in kind.goes_with)]
        for place in range(COMPANIONS):
            target = targets[place % len(targets)]
            low, high = int(starts[target]), int(starts[target + 1])
            tries = rng.integers(low, high, (last - first, 6))
            alike = np.einsum("if,itf->it", styles[first:last], styles[tries])
            best = (alike + 0.6 * log_popularity[tries]).argmax(axis=1)
            companions[first:last, place] = tries[np.arange(last - first), best]
    return companions


def _draw_visitors(plan: Plan) -> Visitors:
    rng = np.random.default_rng([plan.seed, 2])
    count, span = plan.users, int(plan.days * DAY_MS)
    shop = rng.dirichlet(np.full(len(SHELVES), 8.0))
    tastes = rng.dirichlet(shop * 3.0, (2, count)) + 0.002
    tastes /= tastes.sum(axis=2, keepdims=True)
    rows = np.arange(count)
    main, second, disliked = rng.integers(0, len(STYLES), (3, count))
    styles = rng.normal(0, 0.1, (count, len(STYLES)))
    styles[rows, disliked] -= 0.7
    styles[rows, second] += 0.5
    styles[rows, main] += 1.0
    joined = np.where(rng.random(count) < PRESENT, 0, rng.integers(0, span, count))
    return Visitors(
        first_taste=tastes[0],
        last_taste=tastes[1],
        styles=styles,
        dearness=rng.normal(0, 0.9, count),
        makers=rng.integers(0, len(MAKERS), (count, 2)),
        loyalty=rng.random(count) * 1.2,
        joined=joined,
        rate=np.minimum(rng.lognormal(-1.7, 1.2, count), 6.0),
        kind=rng.choice(3, count, p=(0.7, 0.15, 0.15)),
    )
