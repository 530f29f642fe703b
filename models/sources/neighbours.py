"""What follows the user's last items: directed, decayed transitions of all users."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.contexts import Contexts
from models.sources.base import F32, Positive, World

__all__ = ["Neighbours"]


class Neighbours:
    """Successors of the last items, summed with decay.

    Parameters
    ----------
    world
        Statistics.
    window
        How many of the last interactions are asked.
    decay
        Weight of each further interaction back.
    """

    def __init__(
        self, world: World, name: str = "neighbours", window: int = 20, decay: float = 0.85
    ) -> None:
        self.name = name
        self._world = world
        self._window = window
        self._decay = decay

    def score(self, contexts: Contexts) -> F32:
        """Return the decayed sums of transition shares."""
        items = contexts.items[:, : self._window]
        weight = np.where(contexts.weight[:, : self._window] > 0, 1.0, 0.0)
        weight = weight * self._decay ** np.arange(items.shape[1])
        rows, strength = self._world.stats.successors(items)
        n_rows, n_items = len(contexts), len(self._world.catalogue)
        flat = rows + (np.arange(n_rows, dtype=np.int64) * n_items)[:, None, None]
        valid = rows >= 0
        spread = (strength * weight[:, :, None])[valid]
        table = np.bincount(flat[valid], spread, n_rows * n_items)
        return table.reshape(n_rows, n_items).astype(np.float32)

    def learn(self, positives: Sequence[Positive]) -> None:
        """Learn nothing: `neighbours` counts."""
