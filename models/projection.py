"""Content vectors less what a catalogue's texts have in common, on their main axes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.catalogue import Catalogue
from features.columns import Column
from models.beside import Beside, at_once
from models.kept_index import KeptIndex
from models.near import NearIndex
from models.nearby import FOUND, LARGE

__all__ = ["Centred"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

ENOUGH: Final = 4
"""Items with a vector for each axis, from which on axes are taken."""

GROWN: Final = 1.25
"""By how much there must be more of them for the axes to be taken anew."""

SETTLED: Final = 4.0
"""The same once they were taken from a full sample, which more items hardly change."""

SAMPLE: Final = 8192
"""Items that the axes are taken from at most, evenly over the catalogue."""

AT_ONCE: Final = 16_384
"""Items projected at once: a large catalogue's vectors are not copied whole."""


@dataclass(frozen=True, slots=True)
class _Axes:
    """Where vectors are moved from, what they are turned onto, and of what they were taken."""

    centre: F32
    basis: F32 | None
    items: int
    exchanged: int


class Centred:
    """Unit content vectors without their mean, on the catalogue's principal axes.

    Titles of one shop have much in common; without their mean, a cosine says what tells two
    of them apart. A few dozen axes hold most of that, at a fraction of the cost.

    Parameters
    ----------
    catalogue
        The items.
    axes
        How many axes; 0 leaves the vectors as long as they are.
    beside
        Where a large catalogue's index is laid out.
    """

    def __init__(
        self, catalogue: Catalogue, axes: int = 0, beside: Beside[NearIndex] = at_once
    ) -> None:
        self._catalogue = catalogue
        self._width = axes if 0 < axes < catalogue.dim else 0
        self._axes: _Axes | None = None
        self._rows: Column[np.float32] = Column(np.float32, fill=0, width=catalogue.dim)
        self._length: Column[np.float32] = Column(np.float32, fill=0)
        self._version = 0
        self._index = KeptIndex(beside)

    def vectors(self) -> F32:
        """Return (N, width) unit rows, zero where an item has no vector.

        What was projected stays until its item changes, or until there are so many more
        items that the axes are taken anew.
        """
        catalogue = self._catalogue
        if self._stale():
            self._index.drop()
            self._axes = self._fit()
            width = catalogue.dim if self._axes.basis is None else self._axes.basis.shape[1]
            self._rows = Column(np.float32, fill=0, width=width)
            self._grow()
            self._project(np.arange(len(catalogue)))
        elif self._version != catalogue.version:
            self._grow()
            changed = catalogue.changed(self._version)
            changed = np.arange(len(catalogue)) if changed is None else changed
            self._project(changed)
            self._index.update(self._rows.rows, changed)
        self._grow()
        self._version = catalogue.version
        return self._rows.rows

    def near(self, wanted: F32) -> I32 | None:
        """Return the items nearest to n vectors on the axes: (n, FOUND), nearest first.

        None where there are so few items that comparing all of them costs less.
        """
        vectors = self.vectors()
        if len(vectors) < LARGE:
            return None
        return self._index.find(vectors, wanted, FOUND)

    def near_to_text(self, wanted: F32) -> I32 | None:
        """Return the items nearest to n texts' own vectors, as :meth:`near` does.

        The axes are asked for what lies in the direction of each text.
        """
        self.vectors()
        axes = self._axes
        assert axes is not None, "vectors() has fitted them"
        moved = wanted - axes.centre
        turned = moved if axes.basis is None else moved @ axes.basis
        return self.near(np.asarray(turned, dtype=np.float32))

    def cosines(self, wanted: F32, near: int) -> F32:
        """Return cosines of other unit vectors to the items' own, the mean not taken off.

        Parameters
        ----------
        wanted
            (n, dim) unit rows.
        near
            How many of the nearest items are compared by whole vectors: of those it is the
            cosine, of the others what the axes show of it.

        Returns
        -------
        cosines
            (n, N); 0 where an item has no vector.
        """
        vectors, axes = self.vectors(), self._axes
        assert axes is not None, "vectors() has fitted them"
        turned = wanted if axes.basis is None else wanted @ axes.basis
        found = turned @ vectors.T
        found *= self._length.rows
        found += (wanted @ axes.centre)[:, None] * self._catalogue.has_vector
        # without axes it is the cosine; of few items axes do not matter
        if axes.basis is not None and near < found.shape[1]:
            best = np.argpartition(-found, near, axis=1)[:, :near]
            exact = (self._catalogue.vectors[best] @ wanted[:, :, None])[:, :, 0]
            np.put_along_axis(found, best, exact, axis=1)
        return np.asarray(found, dtype=np.float32)

    def _grow(self) -> None:
        self._rows.grow(len(self._catalogue))
        self._length.grow(len(self._catalogue))

    def _stale(self) -> bool:
        axes, catalogue = self._axes, self._catalogue
        if axes is None or axes.exchanged != catalogue.exchanged:
            return True
        grown = GROWN if axes.items < SAMPLE else SETTLED
        return catalogue.described >= max(axes.items + 1, grown * axes.items)

    def _fit(self) -> _Axes:
        catalogue = self._catalogue
        has = np.flatnonzero(catalogue.has_vector)
        if not len(has):
            return _Axes(np.zeros(catalogue.dim, np.float32), None, 0, catalogue.exchanged)
        sample = has[:: -(-len(has) // SAMPLE)]
        vectors = catalogue.vectors[sample].astype(np.float64)
        centre, basis = vectors.mean(axis=0), None
        if self._width and len(has) >= ENOUGH * self._width:
            moved = vectors - centre
            _, axes = np.linalg.eigh(moved.T @ moved)
            basis = np.ascontiguousarray(axes[:, : -self._width - 1 : -1], dtype=np.float32)
        return _Axes(centre.astype(np.float32), basis, len(has), catalogue.exchanged)

    def _project(self, rows: I64) -> None:
        axes, catalogue = self._axes, self._catalogue
        assert axes is not None, "fitted before anything is projected"
        for first in range(0, len(rows), AT_ONCE):
            part = rows[first : first + AT_ONCE]
            moved = catalogue.vectors[part] - axes.centre
            if axes.basis is not None:
                moved = moved @ axes.basis
            length = np.linalg.norm(moved, axis=1, keepdims=True)
            moved /= np.maximum(length, np.float32(1e-6))
            self._length.rows[part] = length[:, 0] * catalogue.has_vector[part]
            self._rows.rows[part] = np.where(catalogue.has_vector[part, None], moved, 0)
