"""What the sequence Transformer expects next."""

from __future__ import annotations

from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.nearby import SAMPLE, Nearby, mean_of
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

    @property
    def items(self) -> F32:
        """(N, dim) vectors of the items."""
        ...

    def users(self, contexts: Contexts, known: NDArray[np.integer], encoder: QueryVectors) -> F32:
        """Return what the K questions in the rows ``known`` expect, (K, dim).

        Its products with the items' vectors are their log-odds.
        """
        ...

    def near(self, users: F32) -> NDArray[np.int32] | None:
        """Return the items of the largest odds, (K, FOUND), largest first.

        None where there are so few items that comparing all of them costs less.
        """
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
        users, items = self._loaded.users(contexts, known, self._world.queries), self._loaded.items
        if (best := self._loaded.near(users)) is not None:
            return self._nearby(len(contexts), known, users, best)
        lift = self._lift(users @ items.T)
        if len(known) < len(contexts):
            scores = np.zeros(shape, dtype=np.float32)
            scores[known] = lift
            lift = scores
        return Table.of(lift)

    def _nearby(
        self, n_rows: int, known: NDArray[np.integer], users: F32, best: NDArray[np.int32]
    ) -> Scores:
        """Return the same of a catalogue of which only the nearest items were looked at."""
        assert self._loaded is not None, "asked what it expects"
        items = self._loaded.items
        found = (items[np.maximum(best, 0)] @ users[:, :, None])[:, :, 0]
        found[best < 0] = -np.inf
        others = users @ items[:: max(1, len(items) // SAMPLE)].T
        most = found.max(axis=1, keepdims=True)
        mean = mean_of(np.exp(found - most), np.exp(np.minimum(others - most, 0)), len(items))
        shift = -(np.log(mean) + most[:, 0])
        return Nearby.of(n_rows, known, users, items, best, shift=shift)

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
