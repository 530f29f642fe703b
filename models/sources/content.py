"""Items whose text is near what the user looks at, or near his last query."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from features.contexts import Contexts
from models.sources.base import F32, Positive, World

__all__ = ["Content", "Query", "taste_vectors"]


def taste_vectors(contexts: Contexts, vectors: F32, half_life: float) -> F32:
    """Return the decayed mean of the content vectors of a user's items: (B, dim) unit rows.

    Parameters
    ----------
    contexts
        B questions.
    vectors
        (N, dim) unit rows, zero where an item has none.
    half_life
        Interactions after which an item counts half.
    """
    weight = np.maximum(contexts.weight, 0) * np.exp2(
        -np.arange(contexts.items.shape[1]) / half_life
    )
    used = int((weight.max(axis=0, initial=0) > 1e-3).sum())
    items, weight = contexts.items[:, :used], weight[:, :used].astype(np.float32)
    weight = np.where(items >= 0, weight, 0)
    taste = np.einsum("bl,bld->bd", weight, vectors[np.maximum(items, 0)])
    return (taste / np.maximum(np.linalg.norm(taste, axis=1, keepdims=True), 1e-9)).astype(
        np.float32
    )


class Content:
    """Cosine of an item's text to the decayed mean of the user's items.

    Parameters
    ----------
    world
        Catalogue.
    name
        ``content`` for the short horizon, ``taste`` for the long one.
    half_life
        Interactions after which an item of the history counts half.
    """

    def __init__(self, world: World, name: str, half_life: float) -> None:
        self.name = name
        self._world = world
        self._half_life = half_life

    def score(self, contexts: Contexts) -> F32:
        """Return cosines cut at 0."""
        vectors = self._world.catalogue.vectors
        taste = taste_vectors(contexts, vectors, self._half_life)
        return np.maximum(taste @ vectors.T, 0)

    def learn(self, positives: Sequence[Positive]) -> None:
        """Learn nothing: the encoder is given."""


class Query:
    """Cosine of an item's text to the user's last query, while it is fresh."""

    name = "query"

    def __init__(self, world: World) -> None:
        self._world = world

    def score(self, contexts: Contexts) -> F32:
        """Return cosines cut at 0; 0 for users without a fresh query."""
        scores = np.zeros((len(contexts), len(self._world.catalogue)), dtype=np.float32)
        rows = [row for row, query in enumerate(contexts.queries) if query]
        if rows:
            wanted = self._world.queries.vectors([contexts.queries[row] for row in rows])
            scores[rows] = np.maximum(wanted @ self._world.catalogue.vectors.T, 0)
        return scores

    def learn(self, positives: Sequence[Positive]) -> None:
        """Learn nothing: the encoder is given."""
