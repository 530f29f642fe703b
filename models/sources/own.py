"""The user's own past (repeat consumption), and items that nobody knows yet."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.contexts import Contexts
from features.parts.base import DAY_MS
from models.sources.base import F32, Positive, World

__all__ = ["Fresh", "Repeat"]


class Repeat:
    """Items taken before: the more often and the more lately, the better.

    Parameters
    ----------
    world
        Catalogue.
    half_life_days
        After which a taking counts half.
    """

    name = "repeat"

    def __init__(self, world: World, half_life_days: float = 60.0) -> None:
        self._world = world
        self._half_life = half_life_days

    def score(self, contexts: Contexts) -> F32:
        """Return log(1 + count) decayed by the days since the last time."""
        scores = np.zeros((len(contexts), len(self._world.catalogue)), dtype=np.float32)
        owned = contexts.owned
        scores[owned.row, owned.item] = np.log1p(owned.count) * np.exp2(
            -owned.age / self._half_life
        )
        return scores

    def learn(self, positives: Sequence[Positive]) -> None:
        """Learn nothing: the user's state counts."""


class Fresh:
    """Items that appeared lately, nearest to the user's taste first.

    Parameters
    ----------
    world
        Catalogue.
    half_life_days
        Age at which novelty counts half.
    """

    name = "new"

    def __init__(self, world: World, half_life_days: float = 2.0) -> None:
        self._world = world
        self._half_life = half_life_days

    def score(self, contexts: Contexts) -> F32:
        """Return the decayed novelty; 0 for items that were there at the start or lack a card."""
        first = self._world.catalogue.first_seen
        known = first > 0
        start = int(first[known].min()) if known.any() else 0
        age = np.maximum(contexts.now.max() - first, 0) / DAY_MS
        row = np.where(known & (first > start), np.exp2(-age / self._half_life), 0).astype(
            np.float32
        )
        row[row < 1e-3] = 0
        return np.broadcast_to(row, (len(contexts), len(row)))

    def learn(self, positives: Sequence[Positive]) -> None:
        """Learn nothing: the catalogue knows."""
