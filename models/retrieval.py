"""A micro-batch's scores from all sources, and the candidates that they propose."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.sources.base import Source
from models.topk import top_k

__all__ = ["Pairs", "Retrieval", "retrieve"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

TINY = np.float32(1e-9)


@dataclass(frozen=True, slots=True)
class Pairs:
    """M (question, item) pairs, ordered by question."""

    row: I32
    item: I32

    def __len__(self) -> int:
        """Return M."""
        return len(self.row)


@dataclass(frozen=True, slots=True)
class Retrieval:
    """S sources' view of B questions over N items.

    Attributes
    ----------
    contexts
        The questions.
    scores
        (S, B, N), 0 where a source says nothing, -1 where an item is not allowed.
    top
        (S, B, K) rows of the best items of each source, best first; -1 beyond the last
        one with a positive score.
    rank
        (S, B, N) rank within the source from 0; K for items out of its top K.
    mean
        (S, B) mean of the scores over the catalogue; 0 where a source says nothing.
    """

    contexts: Contexts
    scores: F32
    top: I32
    rank: NDArray[np.int16]
    mean: F32

    def candidates(self, rows: I32 | None = None) -> Pairs:
        """Return the union of all sources' top K as pairs, of some questions or of all.

        Parameters
        ----------
        rows
            Questions, ascending; None for all.
        """
        top = self.top if rows is None else self.top[:, rows]
        n_sources, n_rows, k = top.shape
        proposed = np.zeros((n_rows, self.scores.shape[2]), dtype=bool)
        flat = top.transpose(1, 0, 2).reshape(n_rows, n_sources * k)
        row = np.broadcast_to(np.arange(n_rows)[:, None], flat.shape)
        valid = flat >= 0
        proposed[row[valid], flat[valid]] = True
        at, items = np.nonzero(proposed)
        asked = at if rows is None else rows[at]
        return Pairs(asked.astype(np.int32), items.astype(np.int32))

    def at(self, pairs: Pairs) -> tuple[F32, NDArray[np.int16]]:
        """Return each source's score and rank of each pair: both (S, M)."""
        found = np.maximum(self.scores[:, pairs.row, pairs.item], 0)
        return found, self.rank[:, pairs.row, pairs.item]

    def lift(self, pairs: Pairs, scores: F32) -> F32:
        """Return how much more likely than by pure chance each source holds each pair: (M, S).

        A source that says nothing to a question lifts nothing: 0.
        """
        mean = self.mean[:, pairs.row]
        return np.where(mean > 0, scores / np.maximum(mean, TINY), 0).T


def retrieve(
    sources: Sequence[Source], contexts: Contexts, blocked: NDArray[np.bool_], k: int
) -> Retrieval:
    """Ask all sources.

    Parameters
    ----------
    sources
        S sources.
    contexts
        B questions.
    blocked
        (B, N) items that may not be recommended.
    k
        How many items each source proposes.
    """
    n_rows, n_items = blocked.shape
    k = min(k, n_items)
    scores = np.empty((len(sources), n_rows, n_items), dtype=np.float32)
    top = np.empty((len(sources), n_rows, k), dtype=np.int32)
    mean = np.empty((len(sources), n_rows), dtype=np.float32)
    anything_blocked = bool(blocked.any())
    for place, source in enumerate(sources):
        given = source.score(contexts)
        scores[place] = given
        seen = given[:1] if given.strides[0] == 0 else given
        mean[place] = seen.mean(axis=1)
        if anything_blocked:
            scores[place][blocked] = -1
        if not mean[place].any():  # it says nothing to anybody
            top[place] = -1
        elif given.strides[0] == 0:
            top[place] = _shared_top(given[:1], blocked, k)
        else:
            top[place] = top_k(scores[place], k)
    rank = np.full(scores.shape, k, dtype=np.int16)
    source_at, row_at, place_at = np.nonzero(top >= 0)
    rank[source_at, row_at, top[source_at, row_at, place_at]] = place_at
    return Retrieval(contexts, scores, top, rank, mean)


def _shared_top(row: F32, blocked: NDArray[np.bool_], k: int) -> I32:
    """Return the top k of one row of scores for everybody, less what each may not see."""
    most = int(blocked.sum(axis=1).max(initial=0))
    best = top_k(row, min(row.shape[1], k + most))[0]
    best = best[best >= 0]
    hidden = blocked[:, best]
    order = np.argsort(hidden, axis=1, kind="stable")[:, :k]
    found = best[order].astype(np.int32)
    found[np.take_along_axis(hidden, order, axis=1)] = -1
    top = np.full((len(blocked), k), -1, dtype=np.int32)
    top[:, : found.shape[1]] = found
    return top
