"""How well sequence models foretell what was taken: whole catalogue, fresh sequences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.gate import Questions
from models.interactions import Interactions
from models.sequence import SequenceModel
from models.training_data import Material, batch_of

__all__ = ["Exam", "Means", "contexts", "marks_of", "means_of", "ranks"]

F64 = NDArray[np.float64]
Places = NDArray[np.integer]

Means = dict[str, dict[str, float | None]]
"""Model to mark to its mean; None where nothing was asked."""

COLD_USER: Final = 5
"""Interactions before, below which a user is cold."""

AT_ONCE: Final = 256
"""Questions that are asked at once."""

MOST: Final = 5_000
"""Questions of an exam; of more, so many are drawn."""

TOP: Final = 10


def ranks(
    model: SequenceModel,
    material: Material,
    places: Places,
    alive: NDArray[np.bool_],
    before_ms: int | None = None,
) -> F64:
    """Return the rank of each item taken, from 0, among all that may be answered: (Q,).

    Items that are as likely share the middle of their ranks.

    Parameters
    ----------
    model
        Asked for what comes next after all that the user did before.
    material
        The interactions.
    places
        (Q,) which of them are asked about; their users did something before.
    alive
        (N,) which items may be answered.
    before_ms
        Hide from the model what is as new as this, as a system does that reads sequences
        now and then.
    """
    data, length = material.data, model.config.length
    queries = torch.from_numpy(material.queries)
    closed = torch.from_numpy(~alive)
    found = np.zeros(len(places))
    model.eval()
    with torch.inference_mode():
        table = model.items()
        for first in range(0, len(places), AT_ONCE):
            some = places[first : first + AT_ONCE]
            at, after, last = contexts(data, some, length, before_ms)
            outputs = model(batch_of(data, at, queries, after), table)
            odds = outputs[torch.arange(len(some)), torch.from_numpy(last)] @ table.T
            odds = odds.masked_fill(closed, -torch.inf)
            target = torch.from_numpy(data.item[some].astype(np.int64))[:, None]
            mine = odds.gather(1, target)
            above, equal = (odds > mine).sum(dim=1), (odds == mine).sum(dim=1)
            found[first : first + AT_ONCE] = (above + (equal - 1).clamp(min=0) / 2).numpy()
    return found


def contexts(
    data: Interactions, places: Places, length: int, before_ms: int | None = None
) -> tuple[Places, Places, Places]:
    """Return (Q, L) places of what came before and what followed each, and (Q,) the last's."""
    begin = np.searchsorted(data.user, data.user[places])
    end = places.astype(np.int64)
    if before_ms is not None:
        older = np.flatnonzero(data.time < before_ms)
        counts = np.searchsorted(older, [begin, end])
        end = begin + counts[1] - counts[0]
    count = np.minimum(end - begin, length)
    column = np.arange(length)
    at = np.where(column < count[:, None], (end - count)[:, None] + column, -1)
    after = np.where(at >= 0, at + 1, -1)
    last = np.maximum(count - 1, 0)
    after[np.arange(len(places)), last] = np.where(count > 0, places, -1)
    return at, after, last


@dataclass(frozen=True, slots=True)
class Exam:
    """Questions about interactions that no model was trained on.

    Attributes
    ----------
    material
        The interactions.
    wanted
        (E,) which of them are asked about, but for users' first ones.
    alive
        (N,) which items may be answered.
    """

    material: Material
    wanted: NDArray[np.bool_]
    alive: NDArray[np.bool_]

    def places(self) -> Places:
        """Return which interactions are asked about: (Q,), rising."""
        user = self.material.data.user
        known = np.r_[False, user[1:] == user[:-1]] if len(user) else np.zeros(0, np.bool_)
        asked = np.flatnonzero(self.wanted & known)
        if len(asked) > MOST:
            asked = np.sort(np.random.default_rng(0).choice(asked, MOST, replace=False))
        return asked

    def questions(self) -> Questions:
        """Return who is asked, in the order of :meth:`marks`."""
        data, asked = self.material.data, self.places()
        before = asked - np.searchsorted(data.user, data.user[asked])
        seen = np.zeros(int(data.item.max(initial=0)) + 1, dtype=bool)
        first = data.time[self.wanted].min() if self.wanted.any() else 0
        seen[data.item[data.time < first]] = True
        groups = {"cold users": before < COLD_USER, "cold items": ~seen[data.item[asked]]}
        return Questions(data.user[asked], groups)

    def marks(self, model: SequenceModel) -> dict[str, F64]:
        """Return ``ndcg@10`` and ``hr@10`` of each question: (Q,)."""
        return marks_of(ranks(model, self.material, self.places(), self.alive))


def marks_of(rank: F64) -> dict[str, F64]:
    """Return the marks of ranks from 0: (Q,) each."""
    hit = rank < TOP
    gain = np.where(hit, 1 / np.log2(rank + 2.0), 0.0)
    return {"ndcg@10": gain, "hr@10": hit.astype(np.float64)}


def means_of(marks: Mapping[str, Mapping[str, F64]]) -> Means:
    """Return the means of models' marks, models by name.

    Examples
    --------
    >>> means_of({"b": {"hr@10": np.array([1.0, 0.0])}, "a": {"hr@10": np.zeros(0)}})
    {'a': {'hr@10': None}, 'b': {'hr@10': 0.5}}
    """
    return {
        model: {mark: float(m.mean()) if len(m) else None for mark, m in marks[model].items()}
        for model in sorted(marks)
    }
