"""How well sequence models foretell what was taken: whole catalogue, fresh sequences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.gate import Questions
from models.interactions import windows
from models.sequence import SequenceModel
from models.training_data import Material, batch_of

__all__ = ["Exam"]

F64 = NDArray[np.float64]

COLD_USER: Final = 5
"""Interactions before, below which a user is cold."""

AT_ONCE: Final = 64
"""Windows that are scored at once."""

TOP: Final = 10


@dataclass(frozen=True, slots=True)
class Exam:
    """Questions about interactions that no model was trained on.

    Attributes
    ----------
    material
        The interactions.
    wanted
        (E,) which of them are asked about.
    alive
        (N,) which items may be answered.
    """

    material: Material
    wanted: NDArray[np.bool_]
    alive: NDArray[np.bool_]

    def questions(self) -> Questions:
        """Return who is asked, in the order of :meth:`marks`."""
        data = self.material.data
        asked = self._asked(1)
        before = np.arange(len(data)) - np.searchsorted(data.user, data.user)
        trained = np.zeros(int(data.item.max(initial=0)) + 1, dtype=bool)
        first = data.time[self.wanted].min() if self.wanted.any() else 0
        trained[data.item[data.time < first]] = True
        groups = {"cold users": before[asked] < COLD_USER, "cold items": ~trained[data.item[asked]]}
        return Questions(data.user[asked], groups)

    def _asked(self, length: int) -> NDArray[np.integer]:
        """Return the places of what is asked about: what has something before it."""
        cut = windows(self.material.data, max(1, length), self.wanted)
        return np.sort(cut.after[cut.share > 0])

    def marks(self, model: SequenceModel) -> dict[str, F64]:
        """Return ``ndcg@10`` and ``hr@10`` of each question: (Q,)."""
        data, config = self.material.data, model.config
        queries = torch.from_numpy(self.material.queries)
        cut = windows(data, config.length, self.wanted)
        places, ranks = [], []
        model.eval()
        with torch.inference_mode():
            table = model.items()
            closed = torch.from_numpy(~self.alive)
            for first in range(0, len(cut), AT_ONCE):
                chosen = slice(first, first + AT_ONCE)
                asked = cut.share[chosen] > 0
                batch = batch_of(data, cut.at[chosen], queries, cut.after[chosen])
                odds = model(batch, table)[torch.from_numpy(asked)] @ table.T
                place = cut.after[chosen][asked]
                target = torch.from_numpy(data.item[place].astype(np.int64))[:, None]
                mine = odds.gather(1, target)
                better = (odds > mine) & ~closed
                ranks.append(better.sum(dim=1).numpy())
                places.append(place)
        return _marks(np.concatenate(places), np.concatenate(ranks))


def _marks(place: NDArray[np.integer], rank: NDArray[np.integer]) -> dict[str, F64]:
    """Return the marks in the order of the interactions."""
    rank = rank[np.argsort(place, kind="stable")]
    hit = rank < TOP
    gain = np.where(hit, 1 / np.log2(rank + 2.0), 0.0)
    return {"ndcg@10": gain, "hr@10": hit.astype(np.float64)}
