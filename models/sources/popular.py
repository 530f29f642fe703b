"""Decayed popularity: what is taken now, at four half-lives, and within the user's categories."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.category_groups import CategoryGroups, Spread
from models.item_state import HALF_LIVES_MS
from models.item_stats import Popular as Taken
from models.scores import Row, Scores, silence
from models.shelves import Shelved, Shelves
from models.sources.base import F32, Given, World

__all__ = ["CategoryTrend", "Popular", "affinity"]

I32 = NDArray[np.int32]

LIVES: Final = list(HALF_LIVES_MS)
WEEK: Final = LIVES.index("week")


class Popular(Given):
    """Positives decayed with one half-life, the same for everybody.

    Parameters
    ----------
    world
        Catalogue and statistics.
    life
        ``hour``, ``day``, ``week`` or ``month``.
    """

    def __init__(self, world: World, life: str) -> None:
        self.name = f"trending_{life}"
        self._world = world
        self._life = LIVES.index(life)
        self._found: Taken | None = None
        self._row: Row | None = None

    def score(self, contexts: Contexts) -> Scores:
        """Return the decayed positives as of the latest question."""
        found = self._world.stats.popular(int(contexts.now.max()))
        n_items = len(self._world.catalogue)
        if self._row is None or self._found is not found or self._row.n_items != n_items:
            self._found = found
            self._row = Row(n_items, found.rows, found.values[self._life].astype(np.float32))
        return self._row


@dataclass(frozen=True, slots=True)
class _Stacked:
    """Items by set of categories, and of what.

    Attributes
    ----------
    found, seen
        What was taken, and what the catalogue was.
    spread
        What was taken in each set's categories.
    shelves
        The items, a shelf for each set.
    """

    found: Taken
    seen: tuple[int, int]
    spread: Spread
    shelves: Shelves


class CategoryTrend(Given):
    """What is taken in the categories of the user's last items, by how much he uses each.

    An item's score is the square root of ``week_i * sum_c interest_c / total_c`` over its
    categories: a number of the item times one of its set of categories, so that items of one
    set need not be told apart until the best of them are looked for.
    """

    name = "trending_category"

    def __init__(self, world: World, half_life: float = 8.0) -> None:
        self._world = world
        self._half_life = half_life
        self._groups = CategoryGroups(world.catalogue)
        self._stacked: _Stacked | None = None

    def score(self, contexts: Contexts) -> Scores:
        """Return affinity x popularity share within the category, summed over categories."""
        catalogue = self._world.catalogue
        n_categories = len(catalogue.category_names)
        if not n_categories:
            return silence(len(contexts), len(catalogue))
        stacked = self._stack(int(contexts.now.max()))
        items, weight = contexts.items, contexts.weight
        interest = affinity(items, weight, catalogue.category, n_categories, self._half_life)
        reach = stacked.spread.reach(interest)
        return Shelved(np.sqrt(reach).astype(np.float32), stacked.shelves)

    def _stack(self, now: int) -> _Stacked:
        """Return the items by set of categories; until anything changes, the same."""
        catalogue, found = self._world.catalogue, self._world.stats.popular(now)
        # events can name an item before any card does: it has a row, and the version stays
        seen = (catalogue.version, len(catalogue))
        if self._stacked is None or self._stacked.found is not found or self._stacked.seen != seen:
            group = self._groups.of_items()
            taken = np.bincount(group[found.rows], found.values[WEEK], len(self._groups))
            strength = np.zeros(len(catalogue), dtype=np.float32)
            strength[found.rows] = np.sqrt(found.values[WEEK])
            listed = found.rows[catalogue.alive[found.rows]]
            self._stacked = _Stacked(
                found,
                seen,
                self._groups.spread(taken),
                Shelves.of(strength, group, len(self._groups), listed),
            )
        return self._stacked


def affinity(items: I32, weight: F32, labels: I32, n_labels: int, half_life: float) -> F32:
    """Return each user's share of interest by label, decayed by position: (B, labels).

    Parameters
    ----------
    items, weight
        (B, L) histories and signed weights, as in :class:`features.contexts.Contexts`.
    labels
        (N, k) labels of the items, -1 where none.
    n_labels
        Number of labels.
    half_life
        Interactions after which interest counts half.
    """
    n_rows, length = items.shape
    decayed = np.maximum(weight, 0) * np.exp2(-np.arange(length) / half_life)
    found = labels[np.maximum(items, 0)]
    valid = (found >= 0) & (items >= 0)[:, :, None]
    flat = (np.arange(n_rows)[:, None, None] * n_labels + found)[valid]
    spread = np.broadcast_to(decayed[:, :, None], found.shape)[valid]
    table = np.bincount(flat, spread, n_rows * n_labels).reshape(n_rows, n_labels)
    total = table.sum(axis=1, keepdims=True)
    return np.asarray(table / np.maximum(total, 1e-9), dtype=np.float32)
