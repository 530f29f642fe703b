"""What the sequence Transformer expects next."""

from __future__ import annotations

from typing import Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.nearby import SAMPLE, Nearby, mean_of
from models.scores import Scores, Table, silence
from models.sources.base import F32, I64, Given, QueryVectors, World

__all__ = ["Network", "Transformer"]

MOST_ODDS: Final = 20.0
"""Logarithm of the largest lift."""

MOST: Final = np.float32(np.expm1(MOST_ODDS))

FAR: Final = np.float32(40.0)
"""Logarithm beyond which odds are the largest lift anyhow, and far from overflow."""

ROWS: Final = 16
"""Rows of odds that are worked on at once, so that they stay in the processor's caches."""


class Network(Protocol):
    """A model over the catalogue: :class:`models.loaded.Loaded`, which loads torch."""

    version: str
    seen: tuple[int, int]

    def over(self, rows: I64, vectors: F32, seen: tuple[int, int]) -> Self:
        """Return it over the catalogue of now, of which some items have changed or come.

        Parameters
        ----------
        rows, vectors
            (n,) those items, and (n, content_dim) their content vectors.
        seen
            Version and size that the catalogue has now.
        """
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

    def odds(self, users: F32) -> F32:
        """Return the log-odds of all items for them: (K, N), which may be written to."""
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
            self._loaded = self._over(self._loaded)
        users = self._loaded.users(contexts, known, self._world.queries)
        if (best := self._loaded.near(users)) is not None:
            return self._nearby(len(contexts), known, users, best)
        lift = self._lift(self._loaded.odds(users))
        if len(known) < len(contexts):
            scores = np.zeros(shape, dtype=np.float32)
            scores[known] = lift
            lift = scores
        return Table.of(lift)

    def _over(self, loaded: Network) -> Network:
        """Return the model over the catalogue as it is now."""
        catalogue, (version, size) = self._world.catalogue, loaded.seen
        changed = catalogue.changed(version)
        new = np.arange(0 if changed is None else size, len(catalogue))
        rows = new if changed is None else np.union1d(changed, new)
        return loaded.over(rows, catalogue.vectors[rows], (catalogue.version, len(catalogue)))

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
        """Turn log-odds into lifts in place, a few rows at a time."""
        alive = self._world.catalogue.alive
        if not alive.any():
            return np.zeros_like(odds)
        whole = bool(alive.all())
        closed = np.where(alive, np.float32(0), np.float32(-np.inf))
        share = np.where(alive, np.float32(1 / np.count_nonzero(alive)), np.float32(0))
        shown = np.empty_like(odds[:ROWS])
        for first in range(0, len(odds), ROWS):
            some = odds[first : first + ROWS]
            best = some if whole else np.add(some, closed, out=shown[: len(some)])
            some -= best.max(axis=1, keepdims=True)
            if not whole:  # a closed item may be likelier than all that are not
                np.minimum(some, FAR, out=some)
            np.exp(some, out=some)
            some *= 1 / (some @ share)[:, None]
            some -= 1
            np.clip(some, 0, MOST, out=some)
        return odds
