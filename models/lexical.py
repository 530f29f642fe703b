"""Items found by the words of their texts: BM25, kept up while items come and change.

BM25 as Lucene has it (Robertson and Zaragoza 2009, doi:10.1561/1500000019; Kamphuis et al. 2020,
doi:10.1007/978-3-030-45442-5_4), by the library bm25s (Lu 2024, arXiv:2407.03618), which lays all
scores out beforehand. What was laid out stays until a tenth of the texts has changed, and is then
laid out anew, beside; those that have changed meanwhile are scored by the same formula, with the
frequencies of the words as they were laid out.
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final, NamedTuple, Self

import bm25s
import numpy as np
from numpy.typing import NDArray

from features.columns import Rows
from models.beside import Beside, at_once

__all__ = ["LexicalIndex"]

log = logging.getLogger(__name__)
logging.getLogger("bm25s").setLevel(logging.WARNING)  # it tells of whatever it lays out

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

K1: Final = 1.2
B: Final = 0.75

CHANGED: Final = 256
SHARE: Final = 0.1
"""Texts that may have changed, and which share of all, before they are laid out anew."""


def _marks(words: Sequence[str]) -> I32:
    """Return a number for each word: of a million words few share one, and none is stored."""
    hashed = [zlib.crc32(word.encode("utf-8", "replace")) for word in words]
    return np.array(hashed, np.uint32).view(np.int32)


def _rarity(n_texts: int, found: NDArray[np.integer]) -> F32:
    """Return the inverse document frequency of words that are in so many of the texts."""
    return np.log1p((n_texts - found + 0.5) / (found + 0.5)).astype(np.float32)


class _Changed(NamedTuple):
    """Texts that were put after the others were laid out.

    Attributes
    ----------
    rows
        (C,) where they belong.
    text, mark
        Of each of their words, the text (by its place in rows) and the word's number.
    counts
        (C,) how many words each has.
    """

    rows: I64
    text: I64
    mark: I32
    counts: I32


@dataclass(frozen=True, slots=True)
class _Laid:
    """Texts as they were when they were laid out.

    Attributes
    ----------
    rows
        (T,) the rows that had a text.
    words, rarity
        (V,) numbers of their words, ascending, and how rare each is.
    length
        Mean number of words of a text.
    index
        Scores by word; None where there was no text.
    """

    rows: I64
    words: I32
    rarity: F32
    length: float
    index: bm25s.BM25 | None

    @classmethod
    def of(cls, rows: I64, counts: I32, marks: I32) -> Self:
        """Lay texts out, given how many words each has, and all these words."""
        words, number, times = np.unique(marks, return_inverse=True, return_counts=True)
        if not len(words):
            return cls(rows[:0], words, np.zeros(0, np.float32), 1.0, None)
        texts = [one.tolist() for one in np.split(number, np.cumsum(counts)[:-1])]
        index = bm25s.BM25(k1=K1, b=B, method="lucene")
        vocabulary = {place: place for place in range(len(words))}
        index.index((texts, vocabulary), create_empty_token=False, show_progress=False)
        found = np.diff(index.scores["indptr"])
        return cls(rows, words, _rarity(len(rows), found), float(counts.mean()), index)

    def places(self, marks: I32) -> I64:
        """Return where words stand among those laid out, -1 where they do not."""
        place = np.searchsorted(self.words, marks)
        there = place < np.searchsorted(self.words, marks, "right")
        return np.where(there, place, -1)

    def scores(self, places: I64, size: int) -> F32:
        """Return the scores of all rows of a table: (size,)."""
        scores = np.zeros(size, np.float32)
        known = places[places >= 0]
        if self.index is not None and len(known):
            scores[self.rows] = self.index.get_scores_from_ids(known.tolist())
        return scores

    def score_others(self, others: _Changed, marks: I32, places: I64) -> F32:
        """Return the scores of texts that were not laid out: (C,)."""
        scores = np.zeros(len(others.rows), np.float32)
        norm = K1 * (1 - B + B * others.counts / self.length)
        for mark, place in zip(marks, places, strict=True):
            times = np.bincount(others.text[others.mark == mark], minlength=len(scores))
            rarity = self.rarity[place] if place >= 0 else self._new(times)
            scores += rarity * (times / (times + norm)).astype(np.float32)
        return scores

    def _new(self, times: I64) -> np.float32:
        """Return the rarity of a word that no text had when they were laid out."""
        found = np.array([np.count_nonzero(times)])
        return np.float32(_rarity(max(int(found[0]), len(self.rows)), found)[0])


class LexicalIndex:
    """The words of items' texts, by row of a table that grows.

    Parameters
    ----------
    beside
        Where they are laid out.

    Examples
    --------
    >>> index = LexicalIndex()
    >>> index.put(np.array([0, 2]), [["tea", "cup"], ["tea"]])
    >>> [round(float(score), 2) for score in index.scores(["cup"], 3)]
    [0.09, 0.0, 0.0]
    """

    def __init__(self, beside: Beside[_Laid] = at_once) -> None:
        self._beside = beside
        self._texts = Rows()
        self._laid = _Laid.of(np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int32))
        self._coming: Future[_Laid] | None = None
        self._changed: dict[int, None] = {}
        self._meanwhile: dict[int, None] = {}
        self._others: _Changed | None = None

    def put(self, rows: NDArray[np.integer], texts: Sequence[Sequence[str]]) -> None:
        """Replace the words of distinct rows."""
        marks = _marks(list(chain.from_iterable(texts))).tolist()
        ends = np.cumsum([len(text) for text in texts]).tolist()
        starts = [0, *ends[:-1]]
        self._texts.put([marks[a:z] for a, z in zip(starts, ends, strict=True)], rows)
        put = dict.fromkeys(rows.tolist())
        self._changed.update(put)
        self._meanwhile.update(put)
        self._others = None

    def settle(self) -> None:
        """Lay out what has changed, and wait for it."""
        self._take_over(wait=True)
        if self._changed:
            self._lay()
            self._take_over(wait=True)

    def scores(self, query: Sequence[str], size: int) -> F32:
        """Return how well each row's text answers a query: (size,), 0 where no word is in it.

        Parameters
        ----------
        query
            Its words, each once.
        size
            Rows of the table, no fewer than were put.
        """
        self._take_over()
        if self._coming is None and len(self._changed) > max(CHANGED, SHARE * len(self._laid.rows)):
            self._lay()
            self._take_over()
        marks = _marks(query)
        places = self._laid.places(marks)
        scores = self._laid.scores(places, size)
        if self._changed:
            others = self._of_others()
            scores[others.rows] = self._laid.score_others(others, marks, places)
        return scores

    def _of_others(self) -> _Changed:
        if self._others is None:
            rows = np.fromiter(self._changed, np.int64, len(self._changed))
            text, mark = self._texts.gather(rows)
            self._others = _Changed(rows, text, mark, self._texts.counts[rows])
        return self._others

    def _lay(self) -> None:
        rows = np.flatnonzero(self._texts.counts)
        _, marks = self._texts.gather(rows)
        self._meanwhile = {}
        self._coming = self._beside(partial(_Laid.of, rows, self._texts.counts[rows], marks))

    def _take_over(self, *, wait: bool = False) -> None:
        """Go on with what was being laid out, if it is there; where that failed, as before."""
        if self._coming is None or not (wait or self._coming.done()):
            return
        coming, self._coming = self._coming, None
        try:
            self._laid = coming.result()
        except Exception:  # all that has changed is still scored, if slowly
            log.exception("the words of items could not be laid out; it is tried again")
        else:
            self._changed, self._others = self._meanwhile, None
        self._meanwhile = {}
