"""What follows the user's last items: directed, decayed transitions of all users."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from features.parts.base import DAY_MS
from models.item_state import HALF_LIVES_MS
from models.sources.base import F32, Given, World

__all__ = ["Horizon", "Neighbours"]

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

TRANSITIONS: Final = 200_000
"""Transitions that are looked at at once."""

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

    def score(self, contexts: Contexts) -> F32:
        """Return the decayed sums (B, N)."""
        n_items, rarity = len(self._world.catalogue), self._count(contexts)
        rarity = rarity ** self._horizon.powers[1]
        scores = np.empty((len(contexts), n_items), dtype=np.float32)
        for part, followers, value in self._transitions(contexts.items, self._weight(contexts)):
            size = len(followers)
            flat = followers + (np.arange(size) * n_items)[:, None, None]
            valid = followers >= 0
            table = np.bincount(flat[valid], value[valid], size * n_items).reshape(size, n_items)
            np.divide(table, rarity, out=scores[part], casting="same_kind")
        return scores

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
        asked, place = np.unique(row, return_inverse=True)
        items, weight = contexts.items[asked], self._weight(contexts)[asked]
        origin = np.full(len(row), -1, dtype=np.int32)
        for part, followers, value in self._transitions(items, weight):
            size = len(followers)
            mine = np.flatnonzero((place >= part.start) & (place < part.stop))
            wanted = np.full((size, len(self._world.catalogue)), -1, dtype=np.int32)
            wanted[place[mine] - part.start, item[mine]] = mine
            pair = wanted[np.arange(size)[:, None, None], followers]
            found = np.nonzero((followers >= 0) & (pair >= 0) & (value > 0))
            # the strongest first; of equal ones the latest, as they come
            order = np.lexsort((-value[found], pair[found]))
            named, first = np.unique(pair[found][order], return_index=True)
            best = order[first]
            origin[named] = items[part][found[0][best], found[1][best]]
        return origin

    def _count(self, contexts: Contexts) -> F64:
        """Return the decayed counts of all items: (N,)."""
        count: F64 = self._world.stats.popularity(int(contexts.now.max()))[MONTH] + SMOOTH
        return count

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
        age = np.maximum(now - stats.time[past], 0) / (DAY_MS * self._world.half_life_days)
        faded: F64 = weight * np.exp2(-age) / self._count(contexts)[past] ** horizon.powers[0]
        return faded

    def _transitions(self, items: I32, weight: F64) -> Iterator[tuple[slice, I32, F64]]:
        """Yield what follows, so many questions at a time that it fits in memory.

        Yields
        ------
        part, followers, value
            Which questions; (b, window, served) rows of the followers, -1 where there
            is none, and what each adds to its item's sum.
        """
        items = items[:, : weight.shape[1]]
        successors = self._world.stats.successors
        each = items.shape[1] * successors(items[:1, :1])[0].size
        step = max(1, TRANSITIONS // max(1, each))
        for first in range(0, len(items), step):
            part = slice(first, min(first + step, len(items)))
            followers, strength = successors(items[part])
            yield part, followers, strength * weight[part, :, None]
