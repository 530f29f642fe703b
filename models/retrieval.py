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
    tables
        S tables of scores, (B, N), or (1, N) where all questions have the same; 0 where a
        source says nothing. What stands in them for blocked items is of no meaning.
    blocked
        (B, N) items that are not allowed.
    top
        (S, B, K) rows of the best items of each source, best first; -1 beyond the last
        one with a positive score.
    mean
        (S, B) mean of the scores over the catalogue; 0 where a source says nothing.
    """

    contexts: Contexts
    tables: Sequence[F32]
    blocked: NDArray[np.bool_]
    top: I32
    mean: F32

    @property
    def size(self) -> int:
        """N."""
        return int(self.blocked.shape[1])

    def table(self, source: int) -> F32:
        """Return a source's scores, (B, N), -1 where an item is not allowed."""
        return np.where(self.blocked, np.float32(-1), self.tables[source])

    def candidates(self, rows: I32 | None = None) -> Pairs:
        """Return the union of all sources' top K as pairs, of some questions or of all.

        Parameters
        ----------
        rows
            Questions, ascending; None for all.
        """
        top = self.top if rows is None else self.top[:, rows]
        n_sources, n_rows, k = top.shape
        proposed = np.zeros((n_rows, self.size), dtype=bool)
        flat = top.transpose(1, 0, 2).reshape(n_rows, n_sources * k)
        row = np.broadcast_to(np.arange(n_rows)[:, None], flat.shape)
        valid = flat >= 0
        proposed[row[valid], flat[valid]] = True
        at, items = np.nonzero(proposed)
        asked = at if rows is None else rows[at]
        return Pairs(asked.astype(np.int32), items.astype(np.int32))

    def scores(self, pairs: Pairs) -> F32:
        """Return each source's score of each pair, 0 where it is not allowed: (S, M)."""
        found = np.empty((len(self.tables), len(pairs)), dtype=np.float32)
        place = pairs.row.astype(np.int64) * self.size + pairs.item
        for table, its in zip(self.tables, found, strict=True):
            table.take(pairs.item if len(table) == 1 else place, out=its)
        found[:, self.blocked.take(place)] = 0
        return found

    def ranks(self, pairs: Pairs) -> NDArray[np.int16]:
        """Return each pair's rank within each source, (S, M): from 0; K where out of the top K."""
        k = self.top.shape[2]
        found = np.empty((len(self.top), len(pairs)), dtype=np.int16)
        place = pairs.row.astype(np.int64) * self.size + pairs.item
        row = (np.arange(len(self.blocked)) * self.size)[:, None]
        rank = np.full(self.blocked.size, k, dtype=np.int16)
        for top, its in zip(self.top, found, strict=True):
            there = top >= 0
            best = (row + top)[there]
            rank[best] = np.nonzero(there)[1]
            rank.take(place, out=its)
            rank[best] = k
        return found

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
    tables = []
    top = np.full((len(sources), n_rows, k), -1, dtype=np.int32)
    mean = np.empty((len(sources), n_rows), dtype=np.float32)
    hidden = np.flatnonzero(blocked)
    for place, source in enumerate(sources):
        given = source.score(contexts)
        shared = n_rows > 1 and given.strides[0] == 0
        tables.append(table := given[:1] if shared else _own(given))
        mean[place] = table.mean(axis=1)
        if not mean[place].any():  # it says nothing to anybody
            continue
        if shared:
            top[place] = _shared_top(table, blocked, k)
            continue
        if len(hidden):
            table.reshape(-1)[hidden] = -1
        top[place] = top_k(table, k)
    return Retrieval(contexts, tables, blocked, top, mean)


def _own(table: F32) -> F32:
    """Return a table that may be written to, row after row in memory: itself, if it may."""
    return np.require(table, requirements=["C", "W"])


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
