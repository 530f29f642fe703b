"""How well items answer a query: by their words and by their vectors, and both fused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from features.tokens import words_of_query
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
    wanted
        (dim,) the query's vector.
    """

    by_words: I32
    by_vectors: I32
    lexical: F32
    wanted: F32

    @classmethod
    def of(cls, mirror: Mirror, query: str, wanted: F32, allowed: NDArray[np.bool_]) -> Self:
        """Ask the catalogue, whose lock is held; (N,) allowed are the items to be found."""
        lexical = mirror.words.scores(words_of_query(query), len(mirror.catalogue))
        lexical *= allowed
        return cls(_best(lexical), _nearest(mirror, wanted, allowed), lexical, wanted)

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


def _best(scores: F32) -> I32:
    found = top_k(scores[None], min(FOUND, len(scores)))[0]
    return np.asarray(found[found >= 0])


def _nearest(mirror: Mirror, wanted: F32, allowed: NDArray[np.bool_]) -> I32:
    """Return the allowed items whose texts are nearest to the query's, nearest first."""
    near = mirror.engine.near
    if not wanted.any():
        return np.zeros(0, np.int32)
    if (best := near.near_to_text(wanted[None])) is not None:
        found = best[0][best[0] >= 0]
        return np.asarray(found[allowed[found]])
    cosine = near.cosines(wanted[None], FOUND)[0]
    return _best(np.where(allowed & mirror.catalogue.has_vector, np.maximum(cosine, 0), 0))
