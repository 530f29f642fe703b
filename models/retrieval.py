"""A micro-batch's scores from all sources, and the candidates that they propose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.pairs import Pairs, Slots, union
from models.scores import Blocked, Scores
from models.sources.base import Source

__all__ = ["Retrieval", "View", "retrieve"]

T = TypeVar("T", bound=np.generic)

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

TINY = np.float32(1e-9)


@dataclass(frozen=True, slots=True)
class View:
    """What S sources say of M pairs.

    Attributes
    ----------
    pairs
        The pairs.
    slots, place
        Finds a pair, and (M,) where it finds each of them.
    score
        (S, M) each source's score, 0 where the item is not allowed.
    rank
        (S, M) its rank within the source, from 0; K where it is out of the top K.
    lift
        (S, M) how much more likely than by pure chance the source holds it; 0 where the
        source says nothing to the question.
    """

    pairs: Pairs
    slots: Slots
    place: I32
    score: F32
    rank: NDArray[np.int16]
    lift: F32

    def put(self, row: I32, item: I32, value: F32) -> F32:
        """Return the values of (row, item) entries that are among the pairs, else 0: (M,)."""
        return self.slots.put(row, item, value)[self.place]

    def take(self, places: NDArray[np.integer]) -> Self:
        """Return the same of some of the pairs."""
        pairs = Pairs(self.pairs.row[places], self.pairs.item[places])
        columns = (self.score[:, places], self.rank[:, places], self.lift[:, places])
        return type(self)(pairs, self.slots, self.place[places], *columns)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """S sources' view of B questions over N items.

    Attributes
    ----------
    contexts
        The questions.
    scores
        What each source says.
    blocked
        What is not allowed.
    top
        (S, B, K) rows of the best items of each source, best first; -1 beyond the last
        one with a positive score.
    mean
        (S, B) mean of the scores over the catalogue; 0 where a source says nothing.
    """

    contexts: Contexts
    scores: Sequence[Scores]
    blocked: Blocked
    top: I32
    mean: F32

    @property
    def size(self) -> int:
        """N."""
        return self.blocked.shape[1]

    def table(self, source: int) -> F32:
        """Return a source's scores, (B, N), -1 where an item is not allowed."""
        return np.where(self.blocked.table(), np.float32(-1), self.scores[source].table())

    def candidates(self, rows: I32 | None = None) -> Pairs:
        """Return the union of all sources' top K as pairs, of some questions or of all.

        Parameters
        ----------
        rows
            Questions, ascending; None for all.
        """
        top = self.top if rows is None else self.top[:, rows]
        proposed = top.transpose(1, 0, 2).reshape(top.shape[1], -1)
        return union(proposed, rows)

    def see(self, pairs: Pairs) -> View:
        """Return what all sources say of M pairs."""
        slots = Slots(pairs, *self.blocked.shape)
        place = slots.find(pairs.row, pairs.item)
        score = self._scores(slots, place)
        rank = _each(self._ranks(slots), place)
        return View(pairs, slots, place, score, rank, score * self._per_mean()[:, pairs.row])

    def lift(self, pairs: Pairs) -> F32:
        """Return each source's lift of M pairs alone: (S, M), as :class:`View` has it."""
        slots = Slots(pairs, *self.blocked.shape)
        score = self._scores(slots, slots.find(pairs.row, pairs.item))
        return np.asarray(score * self._per_mean()[:, pairs.row])

    def _per_mean(self) -> F32:
        return np.where(self.mean > 0, 1 / np.maximum(self.mean, TINY), 0)

    def _scores(self, slots: Slots, place: I32) -> F32:
        pairs = slots.pairs
        score = _each(np.stack([scores.at(slots) for scores in self.scores]), place)
        if self.blocked.any:
            score[:, self.blocked.of(pairs.row, pairs.item)] = 0
        return score

    def _ranks(self, slots: Slots) -> NDArray[np.int16]:
        n_sources, n_rows, k = self.top.shape
        size = len(slots) + 1
        ranks = np.full(n_sources * size, k, dtype=np.int16)
        place = slots.find(np.arange(n_rows)[:, None], self.top)
        # what is not asked about, -1, falls into a column of its own: the last, which is cut off
        place += np.arange(n_sources, dtype=np.int32)[:, None, None] * np.int32(size)
        ranks[place] = np.arange(k, dtype=np.int16)
        return ranks.reshape(n_sources, size)[:, :-1]


def _each(found: NDArray[T], place: I32) -> NDArray[T]:
    """Return what was found of each pair, (S, M): of one that is there twice one place was."""
    return found if (place == np.arange(len(place))).all() else found[:, place]


def retrieve(sources: Sequence[Source], contexts: Contexts, blocked: Blocked, k: int) -> Retrieval:
    """Ask all sources.

    Parameters
    ----------
    sources
        S sources.
    contexts
        B questions.
    blocked
        What may not be recommended.
    k
        How many items each source proposes.
    """
    n_rows, n_items = blocked.shape
    k = min(k, n_items)
    scores = [source.score(contexts) for source in sources]
    top = np.full((len(sources), n_rows, k), -1, dtype=np.int32)
    mean = np.empty((len(sources), n_rows), dtype=np.float32)
    for place, its in enumerate(scores):
        mean[place] = its.mean()
        if mean[place].any():  # else it says nothing to anybody
            top[place] = its.top(blocked, k)
    return Retrieval(contexts, scores, blocked, top, mean)
