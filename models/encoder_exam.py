"""How well an encoder's vectors foretell what was taken: the source ``content`` alone.

The whole catalogue is ranked by the cosine to the decayed mean of the last
items, centred, as the source does it. Asked is about items that are not among
these: that somebody takes the same again says nothing of texts, and so the
past itself is no answer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models.encoder_pairs import F32, I64, PAST, weights_back
from models.examine import F64, Exam, marks_of
from models.gate import Questions

__all__ = ["ContentExam"]

Bools = NDArray[np.bool_]

AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class ContentExam:
    """Questions about interactions that no encoder was trained on.

    Attributes
    ----------
    exam
        Which interactions, of which material, over which items.
    known
        (N,) which items have a text.
    """

    exam: Exam
    known: Bools

    @classmethod
    def of(cls, exam: Exam, known: Bools) -> Self:
        """Return the exam without what no text can say anything of."""
        data = exam.material.data
        places = np.flatnonzero(exam.wanted)
        items, weight = _past(exam, known, places)
        target = data.item[places]
        fit = known[target] & weight.any(axis=1) & ~(items == target[:, None]).any(axis=1)
        wanted = np.zeros_like(exam.wanted)
        wanted[places[fit]] = True
        return cls(replace(exam, wanted=wanted), known)

    def after(self, time_ms: int) -> Self:
        """Return the questions about what came after a time."""
        wanted = self.exam.wanted & (self.exam.material.data.time > time_ms)
        return type(self)(replace(self.exam, wanted=wanted), self.known)

    def questions(self) -> Questions:
        """Return who is asked, in the order of :meth:`marks`."""
        return self.exam.questions()

    def marks(self, vectors: F32) -> dict[str, F64]:
        """Return ``ndcg@10`` and ``hr@10`` of each question (Q,), by vectors (N, dim) of texts."""
        mean = vectors[self.known].mean(axis=0) if self.known.any() else 0.0
        around = np.where(self.known[:, None], vectors - mean, 0).astype(np.float32)
        around /= np.maximum(np.linalg.norm(around, axis=1, keepdims=True), np.float32(1e-6))
        places = self.exam.places()
        items, weight = _past(self.exam, self.known, places)
        target = self.exam.material.data.item[places]
        rank = np.zeros(len(places))
        open_ = self.exam.alive & self.known
        for first in range(0, len(places), AT_ONCE):
            some = slice(first, first + AT_ONCE)
            past = np.maximum(items[some], 0)
            taste = (weight[some][:, None, :] @ around[past])[:, 0]
            near = np.where(open_, taste @ around.T, -np.inf)
            rows, columns = np.nonzero(items[some] >= 0)
            mine = near[np.arange(len(taste)), target[some]][:, None]
            near[rows, past[rows, columns]] = -np.inf
            above, equal = (near > mine).sum(axis=1), (near == mine).sum(axis=1)
            rank[some] = above + np.maximum(equal - 1, 0) / 2
        return marks_of(rank)


def _past(exam: Exam, known: Bools, places: NDArray[np.integer]) -> tuple[I64, F32]:
    """Return the last items before each place, latest first, and their weights: (Q, PAST)."""
    data = exam.material.data
    begin = np.searchsorted(data.user, data.user[places])
    back = places[:, None] - 1 - np.arange(PAST)
    there = back >= begin[:, None]
    items = np.where(there, data.item[np.maximum(back, 0)], -1).astype(np.int64)
    liked = there & (data.weight[np.maximum(back, 0)] > 0) & known[items]
    return items, weights_back(items, liked)
