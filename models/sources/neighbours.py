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

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

SMOOTH: Final = 0.3
"""Added to the counts, so that rare items do not lead by chance."""

MONTH: Final = list(HALF_LIVES_MS).index("month")


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
        row, column, weight, past = self._asked(contexts)
        size = (shape[0], len(past))
        asked = csr_array((weight, column, _starts(row, shape[0])), shape=size)
        sums = asked @ self._following(past)
        power = self._horizon.powers[1]
        rarity = self._count(contexts, sums.indices) ** power if power else 1.0
        value = (sums.data / rarity).astype(np.float32)
        return Sparse(shape[1], sums.indptr.astype(np.int64), sums.indices, value)

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
        asker, column, weight, past = self._asked(contexts, named)
        following = self._following(past, item)
        counts = np.diff(following.indptr)[column]
        cause = np.repeat(np.arange(len(column)), counts)
        within = np.arange(len(cause)) - np.repeat(np.cumsum(counts) - counts, counts)
        entry = following.indptr[column][cause] + within
        slots = Slots(Pairs(row, item), len(contexts), len(self._world.catalogue))
        place = slots.find(asker[cause], following.indices[entry])
        given = following.data[entry] * weight[cause]
        found = np.flatnonzero((place >= 0) & (given > 0))
        # the strongest first; of equal ones the latest, as they come
        order = found[np.lexsort((-given[found], place[found]))]
        its, first = np.unique(place[order], return_index=True)
        origin[its] = past[column[cause[order[first]]]]
        return origin

    def _count(self, contexts: Contexts, items: NDArray[np.integer]) -> F64:
        """Return the decayed counts of n items: (n,)."""
        now, (item, place) = int(contexts.now.max()), np.unique(items, return_inverse=True)
        count: F64 = self._world.stats.popularity(now, item)[MONTH] + SMOOTH
        return count[place]

    def _asked(
        self, contexts: Contexts, named: NDArray[np.bool_] | None = None
    ) -> tuple[I64, I64, F64, I32]:
        """Return what is asked of which past items.

        Parameters
        ----------
        contexts
            B questions.
        named
            (B,) those that matter; None for all.

        Returns
        -------
        row, column, weight, past
            (A,) question, place among the past items, and weight of each interaction within
            the window, ordered by question, latest first; and the past items' rows.
        """
        weight = self._weight(contexts)
        if named is not None:
            weight[~named] = 0
        row, place = np.nonzero(weight)
        past, column = np.unique(contexts.items[row, place], return_inverse=True)
        return row, column, weight[row, place], past

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

    def _following(self, past: I32, only: I32 | None = None) -> csr_array:
        """Return the transitions from past items to all, or to some only: (len(past), N)."""
        followers, strength = self._world.stats.successors(past)
        there = followers >= 0
        if only is not None:
            named = np.zeros(len(self._world.catalogue), dtype=np.bool_)
            named[only] = True
            there &= named[followers]
        start = np.zeros(len(past) + 1, dtype=np.int64)
        np.cumsum(there.sum(axis=1), out=start[1:])
        shape = (len(past), len(self._world.catalogue))
        return csr_array((strength[there].astype(np.float64), followers[there], start), shape=shape)


def _starts(row: I64, n_rows: int) -> I64:
    """Return where each row's entries begin, and the end: (n_rows + 1,)."""
    return np.searchsorted(row, np.arange(n_rows + 1))
