"""Items whose text is near what the user looks at, or near his last query."""

from __future__ import annotations

from typing import Final

import numpy as np

from features.contexts import Contexts
from models.nearby import Nearby
from models.projection import Centred
from models.scores import Scores, Table, silence
from models.sources.base import F32, Given, World

__all__ = ["Content", "Query"]


SHARPNESS: Final = 8.0
"""How much likelier a cosine of 1 is taken than one of 0, as a logarithm."""

NEAREST: Final = 200
"""Items nearest to a query that are compared with it by whole vectors."""


def sharpened(cosine: F32) -> F32:
    """Return ``exp(SHARPNESS cos) - 1``, cut at 0: chances, up to a factor, not angles.

    In place.
    """
    cosine *= np.float32(SHARPNESS)
    np.expm1(cosine, out=cosine)
    return np.maximum(cosine, 0, out=cosine)


class Content(Given):
    """Cosine of an item's text to the decayed mean of the user's items.

    Parameters
    ----------
    centred
        The vectors.
    name
        ``content`` for the short horizon, ``taste`` for the long one.
    window, decay
        How many of the last interactions count, and the weight of each further one.
    """

    def __init__(self, centred: Centred, name: str, *, window: int, decay: float) -> None:
        self.name = name
        self._centred, self._window, self._decay = centred, window, decay

    def score(self, contexts: Contexts) -> Scores:
        """Return ``exp(SHARPNESS cos) - 1``, cut at 0."""
        vectors = self._centred.vectors()
        items = contexts.items[:, : self._window]
        weight = self._decay ** np.arange(items.shape[1])
        weight = np.where((items >= 0) & (contexts.weight[:, : self._window] > 0), weight, 0)
        mean = weight.astype(np.float32)[:, None, :] @ vectors[np.maximum(items, 0)]
        taste = mean[:, 0]
        taste = taste / np.maximum(np.linalg.norm(taste, axis=1, keepdims=True), 1e-6)
        speak = np.flatnonzero(weight.any(axis=1))
        if (best := self._centred.near(taste[speak])) is not None:
            asked = (len(contexts), speak, taste[speak], vectors, best)
            return Nearby.of(*asked, scale=SHARPNESS)
        return Table.of(sharpened(taste @ vectors.T))


class Query(Given):
    """Cosine of an item's text to the user's last query, while it is fresh."""

    name = "query"

    def __init__(self, world: World, centred: Centred) -> None:
        self._world, self._centred = world, centred

    def score(self, contexts: Contexts) -> Scores:
        """Return ``exp(SHARPNESS cos) - 1``; nothing of users without a fresh query."""
        shape = (len(contexts), len(self._world.catalogue))
        rows = [row for row, query in enumerate(contexts.queries) if query]
        if not rows:
            return silence(*shape)
        wanted = self._world.queries.vectors([contexts.queries[row] for row in rows])
        if (best := self._centred.near_to_text(wanted)) is not None:
            asked = (shape[0], np.array(rows), wanted, self._world.catalogue.vectors, best)
            return Nearby.of(*asked, scale=SHARPNESS)
        scores = np.zeros(shape, dtype=np.float32)
        scores[rows] = sharpened(self._centred.cosines(wanted, NEAREST))
        return Table.of(scores)
