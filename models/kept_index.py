"""An index that is kept up with its table, and laid out anew without keeping anyone waiting."""

from __future__ import annotations

from concurrent.futures import Future
from functools import partial

import numpy as np
from numpy.typing import NDArray

from models.beside import Beside
from models.near import NearIndex, nearest

__all__ = ["KeptIndex"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]


class KeptIndex:
    """Finds rows of a table that grows and changes.

    The index before goes on answering until the next one is there, which then takes over what
    has changed in the meantime; before there is a first one, every row is compared. Both are
    taken over when something is asked, so never while a micro-batch is between two steps.

    Parameters
    ----------
    beside
        Where an index is laid out.
    """

    def __init__(self, beside: Beside[NearIndex]) -> None:
        self._beside = beside
        self._index: NearIndex | None = None
        self._coming: Future[NearIndex] | None = None
        self._meanwhile: list[I64] = []

    @property
    def coming(self) -> bool:
        """Whether an index is being laid out."""
        return self._coming is not None

    def drop(self) -> None:
        """Forget the index, and the one that is coming: the table is another one."""
        self._index = self._coming = None
        self._meanwhile = []

    def update(self, vectors: F32, changed: I64) -> None:
        """Take over rows of the table (N, d) that have changed, and those that are new."""
        if self._index is not None:
            self._index.update(vectors, changed)
        if self._coming is not None:
            self._meanwhile.append(changed)

    def find(self, vectors: F32, wanted: F32, k: int) -> I32:
        """Return the rows of the k largest inner products, largest first, -1 beyond: (n, k).

        Parameters
        ----------
        vectors
            (N, d) the table, of which :meth:`update` was told.
        wanted
            (n, d) what is asked for.
        """
        self._take_over(vectors)
        outgrown = self._index is None or self._index.outgrown(len(vectors))
        if outgrown and self._coming is None:
            self._coming = self._beside(partial(NearIndex, vectors))
            self._take_over(vectors)
        if self._index is None:
            return nearest(vectors, wanted, k)
        return self._index.find(wanted, k)

    def _take_over(self, vectors: F32) -> None:
        """Go on with the index that was coming, if it is there.

        While it was laid out rows were written under its hands, and may have come into it
        half written: all of them are among those that have changed.
        """
        if self._coming is None or not self._coming.done():
            return
        self._index, self._coming = self._coming.result(), None
        changed = np.concatenate([np.zeros(0, np.int64), *self._meanwhile])
        self._meanwhile = []
        self._index.update(vectors, changed)
