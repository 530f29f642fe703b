"""The features of shown lists: how strong each item is, how well it suits this user.

A list is scored when it is shown and learned from when it closes. Everything
here is a pure function of the lists learned from, in order, and of the
catalogue; nothing is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.columns import Column
from features.shown import ShownBefore, shown_before
from models.arrays import Arrays, pack, pack_names, reading, under, unpack, unpack_names, within
from models.described import Described
from models.differences import Differences, traits
from models.item_space import ItemSpace
from models.laid import Laid, lay, means
from models.sources.base import World
from models.strength import ItemStrength, log_odds
from models.tastes import Tastes, tastes_of

__all__ = ["NAMES", "PRIOR", "Closed", "ListModel", "ShownBefore", "shown_before", "taste_of"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

SCALES: Final = {
    "list.rate": 1.0,
    "list.relative": 0.5,
    "list.shown": 0.5,
    "list.doubt": 0.1,
    "list.strength": 1.0,
    "list.depth": 1.0,
    "list.top": 0.2,
    "list.end": 0.2,
    "list.retaken": 0.2,
    "list.reignored": 0.2,
    "list.taste": 0.25,
}
"""The features, and what each is divided by to be of order 1."""

NAMES: Final = tuple(SCALES)

PRIOR: Final = {"list.strength": 1.0, "list.taste": 0.25, "list.depth": -0.15}
"""Weights of the features before anything was learned: the model's own."""

STRENGTH: Final = 5.0
"""Imagined showings, at the mean rate, in an item's rate."""

PRIOR_TAKEN: Final = 1.0
PRIOR_SHOWN: Final = 5.0
"""Imagined items that were taken, and shown."""

SEEN: Final = 500
"""Items of a list that are learned from, the first: nobody looks further, and what is learned
of the items together grows with the cube of their number."""

DIVIDE: Final = np.array(list(SCALES.values()))


class Counts:
    """How often each item was shown and taken, and how much of its lists was taken.

    Attributes
    ----------
    shown, taken, expected
        By catalogue row; ``expected`` sums the rates of the lists it stood in.
    total
        Taken and shown in all, with those imagined.
    """

    def __init__(self) -> None:
        self.shown = Column(np.float64, fill=0)
        self.taken = Column(np.float64, fill=0)
        self.expected = Column(np.float64, fill=0)
        self.total: F64 = np.array([PRIOR_TAKEN, PRIOR_SHOWN])

    def grow(self, rows: I32 | I64) -> None:
        """Make room for these rows."""
        size = int(rows.max(initial=-1)) + 1
        for column in (self.shown, self.taken, self.expected):
            column.grow(size)

    def learn(self, rows: I32, taken: NDArray[np.bool_], counts: I64) -> None:
        """Count L lists, given their N items and (L,) how many of these each list has."""
        self.grow(rows)
        np.add.at(self.shown.rows, rows, 1)
        np.add.at(self.taken.rows, rows, taken)
        share = means(taken[:, None].astype(np.float64), counts)[:, 0]
        np.add.at(self.expected.rows, rows, np.repeat(share, counts))
        self.total = self.total + [taken.sum(), len(taken)]

    def features(self, rows: I32) -> list[F64]:
        """Return log-odds of the rate, log of taken over expected, log shown and doubt."""
        self.grow(rows)
        shown, taken = self.shown.rows[rows], self.taken.rows[rows]
        mean = self.total[0] / self.total[1]
        rate = (taken + STRENGTH * mean) / (shown + STRENGTH)
        relative = np.log((taken + 2) / (self.expected.rows[rows] + 2))
        doubt = 1 / np.sqrt(1 + shown)
        return [np.log(rate / (1 - rate)), relative, np.log1p(shown), doubt]

    def state(self, rows: I64) -> Arrays:
        """Return the counts of these rows."""
        return {
            "shown": self.shown.rows[rows],
            "taken": self.taken.rows[rows],
            "expected": self.expected.rows[rows],
            "total": self.total,
        }

    def restore(self, arrays: Arrays, rows: I64) -> None:
        """Continue from a checkpoint, given the rows as they are now."""
        self.grow(rows)
        self.shown.rows[rows] = arrays["shown"]
        self.taken.rows[rows] = arrays["taken"]
        self.expected.rows[rows] = arrays["expected"]
        self.total = arrays["total"]


@dataclass(frozen=True, slots=True)
class Closed:
    """A shown list that has closed.

    Attributes
    ----------
    rows
        (n,) rows of the items, in shown order.
    taken
        (n,) what was taken.
    before
        What the user was shown before it.
    taste
        (n,) what his own taste said of the items when they were shown; None where nobody asked.
    """

    rows: I32
    taken: NDArray[np.bool_]
    before: ShownBefore
    taste: F64 | None = None


def taste_of(x: F32) -> F64:
    """Return what users' own tastes say, (n,) log-odds, given n items' features."""
    taste: F64 = x[:, -1].astype(np.float64) * DIVIDE[-1]
    return taste


class ListModel:
    """Features of shown lists.

    Parameters
    ----------
    world
        The catalogue, and the statistics that other sources read.

    Attributes
    ----------
    names
        F names of features.
    """

    names: tuple[str, ...] = NAMES

    def __init__(self, world: World) -> None:
        self._world, self._catalogue = world, world.catalogue
        self._space = ItemSpace(world.catalogue)
        self._strength = ItemStrength()
        self._differences = Differences()
        self._counts = Counts()

    @property
    def clicks(self) -> float:
        """How many items of shown lists were taken, of those that have closed."""
        return float(self._counts.total[0] - PRIOR_TAKEN)

    def features(self, shown: Sequence[tuple[I32, ShownBefore]], *, placed: bool = True) -> F32:
        """Return the features of lists, centred within each.

        Parameters
        ----------
        shown
            L lists, at least one: the rows of each one's items in shown order, at least one,
            and what its user was shown before.
        placed
            Whether that order is known; else all stand in one place, which tells none of them
            from another.

        Returns
        -------
        x
            (N, F) of all items, list by list; those of a list of one item are all 0.
        """
        laid = lay(shown, placed=placed)
        items = self._space.describe(laid.rows)
        f, tastes = self._tastes(laid, items)
        place, here = laid.positions[laid.now], laid.places[laid.now]
        columns = [
            *self._counts.features(laid.rows[here]),
            f[here],
            np.log1p(place),
            1 / (1 + place),
            placed & (place == np.repeat(laid.counts, laid.counts) - 1),
            tastes.retaken,
            tastes.reignored,
            tastes.taste,
        ]
        features = np.stack(columns, axis=1) / DIVIDE
        features -= np.repeat(means(features, laid.counts), laid.counts, axis=0)
        x: F32 = features.astype(np.float32)
        return x

    def _tastes(self, laid: Laid, items: Described) -> tuple[F64, Tastes]:
        """Return the strengths of the different items, and what users' choices say of them."""
        f = self._strength.of(items)
        x = traits(items.linear[laid.places], f[laid.places], laid.positions)
        along = self._differences.of(x)
        return f, tastes_of(laid, items, f, self._catalogue.vectors, along)

    def tastes(self, shown: Sequence[tuple[I32, ShownBefore]]) -> list[F64]:
        """Return what users' earlier choices say of the items of lists, (n,) log-odds each."""
        if not shown:
            return []
        laid = lay(shown)
        _, found = self._tastes(laid, self._space.describe(laid.rows))
        return np.split(found.taste, np.cumsum(laid.counts)[:-1])

    def count(self, closed: Sequence[Closed]) -> None:
        """Count lists that have closed, whether or not anything was taken.

        Items beyond the first SEEN of a list count as not shown.
        """
        if not closed:
            return
        rows = np.concatenate([one.rows[:SEEN] for one in closed])
        taken = np.concatenate([one.taken[:SEEN] for one in closed])
        self._counts.learn(rows, taken, np.array([len(one.rows[:SEEN]) for one in closed]))

    def learn(self, closed: Sequence[Closed], tastes: Sequence[F64]) -> None:
        """Learn from lists that have closed, in this order, what their items are worth.

        Parameters
        ----------
        closed
            Of which something was taken: each list has a rate of its own, and where that is
            nothing, no item has shown to be worth more than another.
        tastes
            What the users' own tastes say of their items; what they explain is not the
            items' doing.
        """
        if not closed:
            return
        carry = self._space.refresh()
        if carry is not None:
            self._strength.carry(carry.phi)
            self._differences.carry(carry.linear)
        laid = lay([(one.rows[:SEEN], one.before) for one in closed])
        items = self._space.describe(laid.rows).take(laid.places)
        f = [
            self._strength.learn(some, one.taken[:SEEN], taste[:SEEN])
            for some, one, taste in zip(items.split(laid.ends), closed, tastes, strict=True)
        ]
        strengths = np.concatenate(f)
        x = traits(items.linear, strengths, laid.positions)
        taken = np.concatenate([one.taken[:SEEN] for one in closed])
        self._differences.learn(laid, x, log_odds(strengths, laid.positions), taken)

    def state(self) -> bytes:
        """Return all that was learned; items and words by name, so that any process can read it."""
        catalogue = self._catalogue
        rows = np.flatnonzero(self._counts.shown.rows)
        tokens = self._strength.touched()
        return pack(
            {
                "items": pack_names([catalogue.ids[row] for row in rows]),
                "words": pack_names([catalogue.token_names[token] for token in tokens]),
                **under("space", self._space.state()),
                **under("counts", self._counts.state(rows)),
                **under("strength", self._strength.state(rows, tokens)),
                **under("differences", self._differences.state()),
            }
        )

    def restore(self, raw: bytes) -> None:
        """Continue from a checkpoint, with the catalogue loaded: words it lacks are forgotten.

        Raises
        ------
        ModelError
            It is damaged, or was written with another encoder.
        """
        model = ListModel(self._world)
        with reading("the checkpoint of shown lists"):
            model._fill(unpack(raw))
        self.__dict__.update(model.__dict__)

    def _fill(self, arrays: Arrays) -> None:
        catalogue = self._catalogue
        rows = catalogue.rows_of(unpack_names(arrays["items"]))
        words = [(field, word) for field, word in unpack_names(arrays["words"])]
        tokens = np.array([catalogue.token_index.get(word, -1) for word in words], dtype=np.int64)
        self._space.restore(within("space", arrays))
        self._counts.restore(within("counts", arrays), rows)
        self._strength.restore(within("strength", arrays), rows, tokens)
        self._differences.restore(within("differences", arrays))
