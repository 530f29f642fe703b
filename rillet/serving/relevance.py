"""How well items answer a query: by their words and by their vectors, and both fused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from features.tokens import words_of_query
from models.retrieval import Retrieval
from models.topk import top_k
from rillet.serving.mirror import Mirror

__all__ = ["Relevance"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

FOUND: Final = 200
"""Items that words propose, and that vectors do."""

RANKS: Final = 60.0
"""Added to ranks before they are fused (Cormack et al. 2009, doi:10.1145/1571941.1572114)."""


@dataclass(frozen=True, slots=True)
class Relevance:
    """What a query says of the catalogue.

    Attributes
    ----------
    by_words, by_vectors
        Rows of the items that are found by each, best first.
    lexical
        (N,) BM25 of all items.
    """

    by_words: I32
    by_vectors: I32
    lexical: F32

    @classmethod
    def of(cls, mirror: Mirror, query: str, retrieval: Retrieval, source: int | None) -> Self:
        """Ask the catalogue, whose lock is held.

        Parameters
        ----------
        mirror
            The items.
        query
            The query, not blank.
        retrieval
            The one question that has it, seen by all sources.
        source
            Which of them compares vectors with the query's; None where that is switched off.
        """
        blocked = retrieval.blocked
        lexical = mirror.words.scores(words_of_query(query), len(mirror.catalogue))
        lexical[blocked.dead] = 0
        near = np.zeros(0, np.int32)
        if source is not None:
            near = _there(retrieval.scores[source].top(blocked, min(FOUND, len(lexical)))[0])
        words = _there(top_k(lexical[None], min(FOUND, len(lexical)))[0])
        return cls(words, near, lexical)

    def candidates(self) -> I32:
        """Return the rows of the items that are found, those first that both find high up."""
        rows = np.union1d(self.by_words, self.by_vectors).astype(np.int32)
        return rows[np.argsort(-self.fused(rows), kind="stable")]

    def fused(self, rows: I32) -> F32:
        """Return the sums of the reciprocal ranks of items: (n,)."""
        fused = np.zeros(len(self.lexical), np.float32)
        for ranked in (self.by_words, self.by_vectors):
            fused[ranked] += 1 / (RANKS + 1 + np.arange(len(ranked), dtype=np.float32))
        return fused[rows]

    def words(self, rows: I32) -> F32:
        """Return BM25 of items over that of the best one, 0 to 1: (n,)."""
        most = float(self.lexical[self.by_words[0]]) if len(self.by_words) else 1.0
        return self.lexical[rows] / np.float32(most)


def _there(found: I32) -> I32:
    return np.asarray(found[found >= 0])
