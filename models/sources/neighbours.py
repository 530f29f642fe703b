"""What follows the user's last items: directed, decayed transitions of all users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from features.contexts import Contexts
from features.parts.base import DAY_MS
from models.item_state import HALF_LIVES_MS
from models.pairs import Pairs, Slots
from models.scores import Scores, Sparse
from models.sources.base import Given, World

__all__ = ["Horizon", "Neighbours"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

SMOOTH: Final = 0.3
"""Added to the counts, so that rare items do not lead by chance."""

Sums = tuple[I64, I32, F64]
"""Where each of B questions' entries begin, and the end, (B + 1,); items and totals, (E,)."""

MONTH: Final = list(HALF_LIVES_MS).index("month")

FEW: Final = 2**17
"""Questions times items up to which a table of all costs less than sparse matrices."""


@dataclass(frozen=True, slots=True)
class Horizon:
    """How far back a source looks.

    Attributes
    ----------
    window
        How many of the last interactions are asked.
    decay, visit_decay
        Weight of each further interaction, and of each further visit back.
    powers
        Exponents of the counts of the item followed and of its follower.
    """

    window: int
    decay: float
    visit_decay: float
    powers: tuple[float, float]


class Neighbours(Given):
    """Successors of the last items, summed with decay, against the popularity of both.

    A transition i -> j that counts T (decayed to now) scores
    ``decay^p * visit_decay^v * T / (c_i^a * c_j^b)``, where the item i lies p
    interactions and v visits back and c are decayed counts: how surely j
    follows i, drawn a little from what everybody takes.

    Parameters
    ----------
    world
        Statistics.
    name
        ``neighbours`` for the short horizon, ``history`` for the long one.
    horizon
        How far back it looks.
    """

    def __init__(self, world: World, name: str, horizon: Horizon) -> None:
        self.name = name
        self._world, self._horizon = world, horizon

    def score(self, contexts: Contexts) -> Scores:
        """Return the decayed sums."""
        shape = (len(contexts), len(self._world.catalogue))
        row, past, weight = self._asked(contexts)
        few = shape[0] * shape[1] <= FEW
        start, item, total = (self._table if few else self._product)(row, past, weight, shape)
        if power := self._horizon.powers[1]:
            total /= self._count(contexts, item) ** power
        return Sparse(shape[1], start, item, total.astype(np.float32))

    def _table(self, row: I64, past: I32, weight: F64, shape: tuple[int, int]) -> Sums:
        """Return the sums of few questions, over a table of all items.

        Parameters
        ----------
        row, past, weight
            As :meth:`_asked` returns them.
        shape
            (B, N).
        """
        followers, strength = self._world.stats.successors(past)
        there = followers >= 0
        cell = (row * shape[1])[:, None] + followers
        given = strength * weight[:, None]
        table = np.bincount(cell[there], given[there], shape[0] * shape[1])
        filled = np.flatnonzero(table)
        start = np.searchsorted(filled, np.arange(shape[0] + 1) * shape[1])
        item = (filled % shape[1]).astype(np.int32)
        return start, item, table[filled].astype(np.float64, copy=False)  # none are whole numbers

    def _product(self, row: I64, past: I32, weight: F64, shape: tuple[int, int]) -> Sums:
        """Return those of many questions, or of many items, by a product of sparse matrices."""
        items, column = np.unique(past, return_inverse=True)
        followers, strength = self._world.stats.successors(items)
        there = followers >= 0
        start = np.zeros(len(items) + 1, dtype=np.int64)
        np.cumsum(there.sum(axis=1), out=start[1:])
        entries = (strength[there].astype(np.float64), followers[there], start)
        following = csr_array(entries, shape=(len(items), shape[1]))
        begin = np.searchsorted(row, np.arange(shape[0] + 1))
        sums = csr_array((weight, column, begin), shape=(shape[0], len(items))) @ following
        return sums.indptr.astype(np.int64), sums.indices, sums.data

    def origins(self, contexts: Contexts, row: I32, item: I32) -> I32:
        """Return the item of the history that gave an item most of its score.

        Parameters
        ----------
        contexts
            The questions.
        row, item
            (M,) question and item row, each pair once.

        Returns
        -------
        origin
            (M,) item rows; -1 where the item follows from nothing.
        """
        origin = np.full(len(row), -1, dtype=np.int32)
        named = np.zeros(len(contexts), dtype=np.bool_)
        named[row] = True
        asker, past, weight = self._asked(contexts, named)
        followers, strength = self._world.stats.successors(past)
        slots = Slots(Pairs(row, item), len(contexts), len(self._world.catalogue))
        place = slots.find(asker[:, None], followers)
        given = strength * weight[:, None]
        cause, rank = np.nonzero((place >= 0) & (given > 0))
        place, given = place[cause, rank], given[cause, rank]
        # the strongest first; of equal ones the latest, as they come
        order = np.lexsort((-given, place))
        its, first = np.unique(place[order], return_index=True)
        origin[its] = past[cause[order[first]]]
        return origin

    def _count(self, contexts: Contexts, items: NDArray[np.integer]) -> F64:
        """Return the decayed counts of n items: (n,)."""
        now = int(contexts.now.max())
        return self._world.stats.popularity(now, items, MONTH) + SMOOTH

    def _asked(
        self, contexts: Contexts, named: NDArray[np.bool_] | None = None
    ) -> tuple[I64, I32, F64]:
        """Return what is asked of which past items.

        Parameters
        ----------
        contexts
            B questions.
        named
            (B,) those that matter; None for all.

        Returns
        -------
        row, past, weight
            (A,) question, past item and weight of each interaction within the window, ordered
            by question, latest first.
        """
        weight = self._weight(contexts)
        if named is not None:
            weight[~named] = 0
        row, place = np.nonzero(weight)
        return row, contexts.items[row, place], weight[row, place]

    def _weight(self, contexts: Contexts) -> F64:
        """Return the weight of each interaction within the window: (B, at most window)."""
        stats, now, horizon = self._world.stats, int(contexts.now.max()), self._horizon
        items = contexts.items[:, : horizon.window]
        back = contexts.back[:, : horizon.window]
        # visits are counted from the newest visit that left a trace
        back = back - back[:, :1]
        weight = horizon.decay ** np.arange(items.shape[1]) * horizon.visit_decay**back
        weight = np.where((contexts.weight[:, : horizon.window] > 0) & (items >= 0), weight, 0)
        past = np.maximum(items, 0)
        age = np.maximum(now - stats.time(past), 0) / (DAY_MS * self._world.half_life_days)
        faded: F64 = weight * np.exp2(-age) / self._count(contexts, past) ** horizon.powers[0]
        return faded
