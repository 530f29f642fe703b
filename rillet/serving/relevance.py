"""Which items a query finds, by their words and by their vectors, and what the words are worth."""

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

WORDS: Final = 4.0
"""What it weighs beside the blend's score that an item has the words of the query; measured, see
docs/search.md."""

QUERY: Final = "query"


@dataclass(frozen=True, slots=True)
class Relevance:
    """What a query says of the catalogue.

    Attributes
    ----------
    by_words, by_vectors
        Rows of the items that are found by each, best first.
    lexical
        (N,) BM25 of all items, over that of the best one.
    """

    by_words: I32
    by_vectors: I32
    lexical: F32

    @classmethod
    def of(cls, mirror: Mirror, query: str, retrieval: Retrieval) -> Self:
        """Ask the catalogue, whose lock is held.

        Parameters
        ----------
        mirror
            The items.
        query
            The query, not blank.
        retrieval
            The one question that has it, seen by all sources, of which one compares vectors.
        """
        size = len(mirror.catalogue)
        lexical = mirror.words.scores(words_of_query(query), size) * mirror.catalogue.alive
        by_words = _there(top_k(lexical[None], min(FOUND, size))[0])
        near = np.zeros(0, np.int32)
        for source, scores in zip(mirror.engine.sources, retrieval.scores, strict=True):
            if source.name == QUERY:
                near = _there(scores.top(retrieval.blocked, min(FOUND, size))[0])
        most = lexical[by_words[0]] if len(by_words) else np.float32(1)
        return cls(by_words, near, lexical / most)

    def candidates(self) -> I32:
        """Return the rows of the items that are found, best first by both ranks together."""
        fused = np.zeros(len(self.lexical), np.float32)
        for ranked in (self.by_words, self.by_vectors):
            fused[ranked] += 1 / (RANKS + 1 + np.arange(len(ranked), dtype=np.float32))
        rows = np.union1d(self.by_words, self.by_vectors).astype(np.int32)
        return rows[np.argsort(-fused[rows], kind="stable")]

    def worth(self, rows: I32) -> F32:
        """Return what items' words add to their scores: (n,)."""
        return np.float32(WORDS) * self.lexical[rows]


def _there(found: I32) -> I32:
    return np.asarray(found[found >= 0])
