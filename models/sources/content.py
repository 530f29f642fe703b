"""Items whose text is near what the user looks at, or near his last query."""

from __future__ import annotations

from typing import Final

import numpy as np

from features.contexts import Contexts
from models.sources.base import F32, Given, World

__all__ = ["Centred", "Content", "Query"]


SHARPNESS: Final = 8.0
"""How much likelier a cosine of 1 is taken than one of 0, as a logarithm."""


def sharpened(cosine: F32) -> F32:
    """Return ``exp(SHARPNESS cos) - 1``, cut at 0: chances, up to a factor, not angles."""
    return np.asarray(np.maximum(np.expm1(SHARPNESS * cosine), 0), dtype=np.float32)


class Centred:
    """Content vectors less the catalogue's mean, at unit length.

    Titles of one shop have much in common; without their mean, a cosine says
    what tells two of them apart.

    Parameters
    ----------
    world
        Catalogue.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._vectors: F32 = np.zeros((0, world.catalogue.dim), dtype=np.float32)
        self._version = -1

    def vectors(self) -> F32:
        """Return (N, dim) unit rows, zero where an item has no vector; made anew on change."""
        catalogue = self._world.catalogue
        if catalogue.version != self._version or len(self._vectors) != len(catalogue):
            has = catalogue.has_vector
            mean = catalogue.vectors[has].mean(axis=0) if has.any() else 0.0
            moved = np.where(has[:, None], catalogue.vectors - mean, 0).astype(np.float32)
            length = np.linalg.norm(moved, axis=1, keepdims=True)
            self._vectors = moved / np.maximum(length, np.float32(1e-6))
            self._version = catalogue.version
        return self._vectors


class Content(Given):
    """Cosine of an item's text to the decayed mean of the user's items.

    Parameters
    ----------
    world
        Catalogue.
    centred
        The vectors.
    name
        ``content`` for the short horizon, ``taste`` for the long one.
    window, decay
        How many of the last interactions count, and the weight of each further one.
    """

    def __init__(
        self, world: World, centred: Centred, name: str, *, window: int, decay: float
    ) -> None:
        self.name = name
        self._world, self._centred = world, centred
        self._window, self._decay = window, decay

    def score(self, contexts: Contexts) -> F32:
        """Return ``exp(SHARPNESS cos) - 1``, cut at 0: (B, N)."""
        vectors = self._centred.vectors()
        items = contexts.items[:, : self._window]
        weight = self._decay ** np.arange(items.shape[1])
        weight = np.where((items >= 0) & (contexts.weight[:, : self._window] > 0), weight, 0)
        mean = weight.astype(np.float32)[:, None, :] @ vectors[np.maximum(items, 0)]
        taste = mean[:, 0]
        taste = taste / np.maximum(np.linalg.norm(taste, axis=1, keepdims=True), 1e-6)
        return sharpened(taste @ vectors.T)


class Query(Given):
    """Cosine of an item's text to the user's last query, while it is fresh."""

    name = "query"

    def __init__(self, world: World) -> None:
        self._world = world

    def score(self, contexts: Contexts) -> F32:
        """Return ``exp(SHARPNESS cos) - 1``; 0 for users without a fresh query: (B, N)."""
        scores = np.zeros((len(contexts), len(self._world.catalogue)), dtype=np.float32)
        rows = [row for row, query in enumerate(contexts.queries) if query]
        if rows:
            wanted = self._world.queries.vectors([contexts.queries[row] for row in rows])
            scores[rows] = sharpened(wanted @ self._world.catalogue.vectors.T)
        return scores
