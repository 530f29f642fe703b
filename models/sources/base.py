"""What every candidate source is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from features.catalogue import Catalogue
from features.contexts import Contexts
from features.owned_before import Entry
from models.arrays import Arrays
from models.beside import Beside, at_once
from models.item_stats import ItemStats
from models.scores import Scores

__all__ = ["F32", "Given", "I64", "Positive", "Source", "World"]

F32 = NDArray[np.float32]
I64 = NDArray[np.int64]


class QueryVectors(Protocol):
    """Where the vectors of queries come from."""

    def vectors(self, texts: Sequence[str]) -> F32:
        """Return unit rows (n, dim)."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """What the sources know besides the user: the catalogue, the statistics, the encoder.

    ``half_life_days`` is that of the transitions, as in the settings; ``beside`` is where
    what takes long is done.
    """

    catalogue: Catalogue
    stats: ItemStats
    queries: QueryVectors
    half_life_days: float
    beside: Beside[Any] = at_once


@dataclass(frozen=True, slots=True)
class Positive:
    """One positive interaction to learn from.

    Attributes
    ----------
    item
        Row of the item taken.
    history
        Rows of the items before it, latest first.
    exposed
        At a visit's first positive: what the user owned then, else nothing.
    again
        If he owned the item: how it stood before this visit, once a visit.
    """

    item: int
    history: tuple[int, ...]
    exposed: tuple[Entry, ...] = ()
    again: Entry | None = None


class Source(Protocol):
    """Proposes items.

    A source is registered by one line in :mod:`models.sources.registry`.

    Attributes
    ----------
    name
        What it is called in reasons, reports and settings.
    """

    name: str

    def score(self, contexts: Contexts) -> Scores:
        """Return scores of B questions and N items, in the form that is cheapest to make.

        Called once a micro-batch, with at least one item in the catalogue; must not loop
        over items or keep the contexts.
        """
        ...

    def learn(self, positives: Sequence[Positive]) -> None:
        """Learn from a micro-batch, after it was scored."""
        ...

    def state(self) -> Arrays:
        """Return what a checkpoint needs; arrays of items go by catalogue row."""
        ...

    def restore(self, arrays: Arrays, rows: I64) -> None:
        """Continue from :meth:`state`; item ``k`` of its arrays is now in row ``rows[k]``.

        Raises
        ------
        KeyError, ValueError
            The arrays are of another version.
        """
        ...


class Given:
    """A source that learns nothing by itself: the catalogue and the statistics suffice."""

    def learn(self, positives: Sequence[Positive]) -> None:
        """Learn nothing."""

    def state(self) -> Arrays:
        """Return nothing."""
        return {}

    def restore(self, arrays: Arrays, rows: I64) -> None:
        """Restore nothing."""
