"""How well items answer a query: by their words, by their vectors, and by both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from features.content import Vectors
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

WORDS: Final = 8.0
"""What it weighs beside the blend's score that an item has the words of the query."""

MEANT: Final = 16.0
SAID: Final = 4.0
"""What the cosine weighs where no item has any of the words, and where one has all of them; both
were measured, see docs/search.md. Between the two it falls evenly."""


@dataclass(frozen=True, slots=True)
class Relevance:
    """What a query says of the catalogue.

    Attributes
    ----------
    by_words, by_vectors
        Rows of the items that are found by each, best first.
    lexical
        (N,) BM25 of all items, over that of the best one.
    vectors, wanted
        (N, dim) the items' vectors, and (dim,) the query's.
    covered
        How much of the query the best item has in words, 0 to 1.
    """

    by_words: I32
    by_vectors: I32
    lexical: F32
    vectors: Vectors
    wanted: F32
    covered: float

    @classmethod
    def of(cls, mirror: Mirror, query: str, wanted: F32) -> Self:
        """Ask the catalogue, whose lock is held, for a query of this vector."""
        catalogue, words = mirror.catalogue, words_of_query(query)
        lexical = mirror.words.scores(words, len(catalogue)) * catalogue.alive
        by_words = _best(lexical)
        most = float(lexical[by_words[0]]) if len(by_words) else 0.0
        return cls(
            by_words,
            _nearest(mirror, wanted),
            lexical / np.float32(most or 1.0),
            catalogue.vectors,
            wanted,
            min(1.0, most / mirror.words.whole(words)) if most else 0.0,
        )

    def candidates(self) -> I32:
        """Return the rows of the items that are found, best first by both ranks together."""
        fused = np.zeros(len(self.lexical), np.float32)
        for ranked in (self.by_words, self.by_vectors):
            fused[ranked] += 1 / (RANKS + 1 + np.arange(len(ranked), dtype=np.float32))
        rows = np.union1d(self.by_words, self.by_vectors).astype(np.int32)
        return rows[np.argsort(-fused[rows], kind="stable")]

    def parts(self, rows: I32) -> tuple[F32, F32]:
        """Return what items' words and what their meaning add to their scores: (n,) each."""
        weight = MEANT + (SAID - MEANT) * self.covered
        cosine = self.vectors[rows] @ self.wanted
        return np.float32(WORDS) * self.lexical[rows], np.float32(weight) * cosine


def _best(scores: F32) -> I32:
    found = top_k(scores[None], min(FOUND, len(scores)))[0]
    return np.asarray(found[found >= 0])


def _nearest(mirror: Mirror, wanted: F32) -> I32:
    """Return the items whose texts are nearest to the query's, nearest first."""
    near, alive = mirror.engine.near, mirror.catalogue.alive
    if not wanted.any():
        return np.zeros(0, np.int32)
    if (best := near.near_to_text(wanted[None])) is not None:
        found = best[0][best[0] >= 0]
        return np.asarray(found[alive[found]])
    return _best(near.cosines(wanted[None], FOUND)[0] * alive)
