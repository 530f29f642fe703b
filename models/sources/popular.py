"""Decayed popularity: what is taken now, at four half-lives, and within the user's categories."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.item_state import HALF_LIVES_MS
from models.scores import Row, Scores, Table, silence
from models.sources.base import F32, Given, World

__all__ = ["CategoryTrend", "Popular", "affinity"]

I32 = NDArray[np.int32]

LIVES = list(HALF_LIVES_MS)


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

    def score(self, contexts: Contexts) -> Scores:
        """Return the decayed positives as of the latest question."""
        popularity = self._world.stats.popularity(int(contexts.now.max()))[self._life]
        return Row(popularity.astype(np.float32))


class CategoryTrend(Given):
    """What is taken in the categories of the user's last items, by how much he uses each."""

    name = "trending_category"

    def __init__(self, world: World, half_life: float = 8.0) -> None:
        self._world = world
        self._half_life = half_life
        self._places: list[tuple[I32, I32]] = []
        self._seen = (-1, -1)

    def score(self, contexts: Contexts) -> Scores:
        """Return affinity x popularity share within the category, summed over categories."""
        catalogue = self._world.catalogue
        n_items, n_categories = len(catalogue), len(catalogue.category_names)
        places = self._entries()
        if not places:
            return silence(len(contexts), n_items)
        week = self._world.stats.popularity(int(contexts.now.max()))[LIVES.index("week")]
        total = np.zeros(n_categories)
        for item, category in places:
            total += np.bincount(category, week[item], n_categories)
        total = np.maximum(total, 1e-9)
        items, weight = contexts.items, contexts.weight
        interest = affinity(items, weight, catalogue.category, n_categories, self._half_life)
        # by item: its questions lie side by side, and a row is added at once
        by_item = np.zeros((n_items, len(contexts)), dtype=np.float32)
        by_category = np.ascontiguousarray(interest.T)
        for item, category in places:
            share = (week[item] / total[category]).astype(np.float32)
            by_item[item] += by_category[category] * share[:, None]
        return Table.of(np.ascontiguousarray(np.sqrt(by_item, out=by_item).T))

    def _entries(self) -> list[tuple[I32, I32]]:
        """Return the items with a first category and that category, with a second one, ...

        A table of categories by items would hold little else than zeros.
        """
        catalogue = self._world.catalogue
        if self._seen != (seen := (catalogue.version, len(catalogue))):
            self._seen, self._places = seen, []
            category = catalogue.category
            for place in range(category.shape[1]):
                column = category[:, place]
                again = (category[:, :place] == column[:, None]).any(axis=1)
                item = np.flatnonzero((column >= 0) & ~again).astype(np.int32)
                if len(item):
                    self._places.append((item, column[item]))
        return self._places


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
