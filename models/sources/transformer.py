"""What the sequence Transformer expects next."""

from __future__ import annotations

from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.scores import Scores, Table, silence
from models.sources.base import F32, Given, QueryVectors, World

__all__ = ["Network", "Transformer"]

MOST_ODDS: Final = 20.0
"""Logarithm of the largest lift."""


class Network(Protocol):
    """A model over the catalogue: :class:`models.loaded.Loaded`, which loads torch."""

    version: str
    seen: tuple[int, int]

    def over(self, vectors: F32, seen: tuple[int, int]) -> Self:
        """Return it over a catalogue that has changed: (N, dim) content vectors."""
        ...

    def odds(self, contexts: Contexts, known: NDArray[np.integer], encoder: QueryVectors) -> F32:
        """Return the log-odds of all items for the K questions in the rows ``known``: (K, N)."""
        ...


class Transformer(Given):
    """The softmax of a sequence model over the catalogue; it says nothing without a model.

    Nor does it of who never took anything: what is disliked alone is not to attract.

    Parameters
    ----------
    world
        Catalogue, and the encoder of queries.
    """

    name = "transformer"

    def __init__(self, world: World) -> None:
        self._world = world
        self._loaded: Network | None = None

    @property
    def version(self) -> str:
        """The model's version, "" where there is none."""
        return self._loaded.version if self._loaded is not None else ""

    def place(self) -> tuple[F32, tuple[int, int]]:
        """Return a copy of the catalogue's vectors, and what it was then."""
        catalogue = self._world.catalogue
        return catalogue.vectors.copy(), (catalogue.version, len(catalogue))

    def swap(self, loaded: Network | None) -> None:
        """Serve another model from the next batch on, or none."""
        self._loaded = loaded

    def score(self, contexts: Contexts) -> Scores:
        """Return the chances against an even guess, less 1, cut at 0."""
        catalogue = self._world.catalogue
        shape = (len(contexts), len(catalogue))
        known = np.flatnonzero((contexts.weight > 0).any(axis=1))
        if self._loaded is None or not len(known):
            return silence(*shape)
        if self._loaded.seen != (catalogue.version, len(catalogue)):
            self._loaded = self._loaded.over(*self.place())
        lift = self._lift(self._loaded.odds(contexts, known, self._world.queries))
        if len(known) < len(contexts):
            scores = np.zeros(shape, dtype=np.float32)
            scores[known] = lift
            lift = scores
        return Table.of(lift)

    def _lift(self, odds: F32) -> F32:
        alive = self._world.catalogue.alive
        if not alive.any():
            return np.zeros_like(odds)
        whole = bool(alive.all())
        shown = odds if whole else odds[:, alive]
        most = shown.max(axis=1, keepdims=True)
        mean = np.log(np.exp(shown - most).mean(axis=1, keepdims=True)) + most
        odds -= mean
        np.minimum(odds, np.float32(MOST_ODDS), out=odds)
        np.expm1(odds, out=odds)
        return np.maximum(odds, 0, out=odds)
