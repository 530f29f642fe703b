"""The histories of a batch's questions, of which one often begins another.

What is asked before each of a user's events, and for his list, differs by the last
interactions alone. A causal network says of a position what it says of it in any longer
history, so that what several have in common need be read once: only the last interaction
of each is its own, for it lasts until the moment asked about, and has the query.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts

__all__ = ["Tokens", "Windows"]

MIX: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 over the golden ratio: times it, numbers that are close lie far apart."""

MARK: Final = np.uint64(61)
"""Bits of the product that are left out: by the three others, one time in eight is a mark."""

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Tokens:
    """T interactions for a network to read: P that come before others, then the last ones of Q.

    R histories lie beside each other, each with its own of the P, oldest first, and its own
    of the Q.

    Attributes
    ----------
    items, place
        (T,) item rows, and places in their histories.
    weight, gap_s
        (T,) weight of the interaction's type; seconds until the next one, or until the moment
        asked about.
    row, column
        (T,) history, and which of its P or of its Q it is.
    seen
        (Q,) how many of its history's P come before it.
    question
        (Q,) number of the question.
    """

    items: I64
    place: I64
    weight: F32
    gap_s: F32
    row: I64
    column: I64
    seen: I64
    question: I64

    @property
    def before(self) -> int:
        """P: how many come before others."""
        return len(self.items) - len(self.seen)

    @property
    def shape(self) -> tuple[int, int, int]:
        """R, and the most of the P and of the Q that a history has."""
        rows, most = int(self.row.max()) + 1, int(self.seen.max())
        return rows, most, int(self.column[self.before :].max()) + 1


@dataclass(frozen=True, slots=True)
class Windows:
    """What a network reads of K questions: the last interactions of each, oldest first.

    Attributes
    ----------
    items, times, weight
        (K, L) item rows, epoch milliseconds, weights; -1, 0 and 0 beyond the end.
    count
        (K,) how many there are of each.
    now
        (K,) the moments asked about, epoch milliseconds.
    whole
        (K,) a question whose history goes on from this one's, or is the same; itself
        where there is none. It is its own.
    """

    items: I64
    times: I64
    weight: F32
    count: I64
    now: I64
    whole: I64

    @classmethod
    def of(
        cls, contexts: Contexts, known: NDArray[np.integer], most: int, *, steady: bool = False
    ) -> Self:
        """Take the last interactions of the questions in some rows.

        Parameters
        ----------
        contexts, known
            All questions, and (K,) rows.
        most
            How many are taken at the most.
        steady
            Whether a history that is longer may begin later, by half of that at the most, so
            that it begins where it did before the user's last interaction. With each that
            comes the last ``most`` are others, and have no beginning in common.
        """
        most = min(most, contexts.items.shape[1])
        count = np.minimum(contexts.length[known], most).astype(np.int64)
        if steady and (longer := np.flatnonzero(contexts.length[known] > most)).size:
            count[longer] = _from_marks(contexts.times[known[longer], :most])
        # Column k is the (count - 1 - k)-th interaction back.
        back = count[:, None] - 1 - np.arange(int(count.max(initial=1)))
        there = back >= 0
        pick = (known[:, None], np.maximum(back, 0))
        items = np.where(there, contexts.items[pick], -1).astype(np.int64)
        times = np.where(there, contexts.times[pick], 0)
        weight = np.where(there, contexts.weight[pick], np.float32(0))
        whole = _longest(items, times, count)
        same = (items[whole] == items) & (times[whole] == times) & (weight[whole] == weight)
        whole = np.where((same | ~there).all(axis=1), whole, np.arange(len(known)))
        return cls(items, times, weight, count, contexts.now[known], whole)

    def parts(self, rows: int) -> Iterator[Tokens]:
        """Yield all of it, so many histories at once, those of like length together."""
        longest = np.unique(self.whole)
        longest = longest[np.argsort(self.count[longest], kind="stable")]
        place = np.empty(len(self.count), dtype=np.int64)
        place[longest] = np.arange(len(longest))
        row = place[self.whole]
        order = np.argsort(row, kind="stable")
        bounds = np.searchsorted(row[order], np.arange(len(longest) + 1))
        nth = np.arange(len(order)) - bounds[row[order]]
        for first in range(0, len(longest), rows):
            end = min(first + rows, len(longest))
            mine = slice(bounds[first], bounds[end])
            asked = order[mine]
            yield self._tokens(longest[first:end], asked, row[asked] - first, nth[mine])

    def _tokens(self, longest: I64, asked: I64, row: I64, nth: I64) -> Tokens:
        last = self.count[asked] - 1
        most = int(self.count[longest].max()) - 1
        at, column = np.nonzero(np.arange(most) < self.count[longest, None] - 1)
        source = longest[at]
        pick = (np.concatenate([source, asked]), np.concatenate([column, last]))
        later = np.concatenate([self.times[source, column + 1], self.now[asked]])
        return Tokens(
            items=self.items[pick],
            place=pick[1],
            weight=self.weight[pick],
            gap_s=((later - self.times[pick]) / 1000).astype(np.float32),
            row=np.concatenate([at, row]),
            column=np.concatenate([column, nth]),
            seen=last,
            question=asked,
        )


def _from_marks(times: I64) -> I64:
    """Return how many interactions there are from the first mark on: (n,).

    What is a mark depends on the interaction alone, so that it stays one when others come.

    Parameters
    ----------
    times
        (n, L) epoch milliseconds, latest first.
    """
    most = times.shape[1]
    marked = (times.astype(np.uint64) * MIX) >> MARK == 0
    marked[:, : most // 2] = False
    first = most - marked[:, ::-1].argmax(axis=1)
    return np.asarray(np.where(marked.any(axis=1), first, most), dtype=np.int64)


def _longest(items: I64, times: I64, count: I64) -> I64:
    """Return the longest of the histories that begin with the same interaction: (K,)."""
    order = np.lexsort((-count, items[:, 0], times[:, 0]))
    begins = np.ones(len(count), dtype=bool)
    one, other = order[1:], order[:-1]
    begins[1:] = (items[one, 0] != items[other, 0]) | (times[one, 0] != times[other, 0])
    whole = np.empty(len(count), dtype=np.int64)
    whole[order] = order[np.maximum.accumulate(np.where(begins, np.arange(len(count)), 0))]
    return whole
