"""What follows the user's last items: directed, decayed transitions of all users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from features.contexts import Contexts
from features.parts.base import DAY_MS
from models.item_state import HALF_LIVES_MS
from models.sources.base import F32, Given, World

__all__ = ["Horizon", "Neighbours"]

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
        stats, now, horizon = self._world.stats, int(contexts.now.max()), self._horizon
        items = contexts.items[:, : horizon.window]
        rows, strength = stats.successors(items)
        count = stats.popularity(now)[MONTH] + SMOOTH
        back = contexts.back[:, : horizon.window]
        # visits are counted from the newest visit that left a trace
        back = back - back[:, :1]
        weight = horizon.decay ** np.arange(items.shape[1]) * horizon.visit_decay**back
        weight = np.where((contexts.weight[:, : horizon.window] > 0) & (items >= 0), weight, 0)
        past = np.maximum(items, 0)
        age = np.maximum(now - stats.time[past], 0) / (DAY_MS * self._world.half_life_days)
        weight = weight * np.exp2(-age) / count[past] ** horizon.powers[0]
        n_rows, n_items = len(contexts), len(self._world.catalogue)
        flat = rows + (np.arange(n_rows, dtype=np.int64) * n_items)[:, None, None]
        valid = rows >= 0
        spread = (strength * weight[:, :, None])[valid]
        table = np.bincount(flat[valid], spread, n_rows * n_items).reshape(n_rows, n_items)
        return np.asarray(table / count ** horizon.powers[1], dtype=np.float32)
