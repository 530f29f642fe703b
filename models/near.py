"""The nearest of very many vectors by inner product, kept up as they come, change and go.

An inverted file (Jegou, Douze and Schmid 2011, doi:10.1109/TPAMI.2010.57) of half-precision
vectors, by faiss: what is asked is compared with the vectors of the nearest cells alone.
"""

from __future__ import annotations

import math
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

__all__ = ["LOOKED_AT", "LOOKED_AT_TRAINED", "NearIndex", "nearest"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

PER_CELL: Final = 40
"""Vectors from which each cell's centre is found."""

LOOKED_AT: Final = 160
"""Cells of unit vectors that are looked at, which finds 99 % of the 100 nearest or more."""

DENSE: Final = 200_000
"""Vectors from which on fewer will do, in inverse proportion: the more there are, the nearer is
the hundredth, and the fewer cells it can lie in."""

FEWEST: Final = 96

LOOKED_AT_TRAINED: Final = 256
"""Cells of trained vectors, however many there are. What was taken often is longer than the rest:
it is among the largest products though its direction is another, that is from further cells."""

GROWN: Final = 2.0
"""By how much there must be more vectors for the cells to be laid out anew."""

BY_ROW: Final = 1
"""How faiss finds a row that changes: `DirectMap::Array`, which its types do not name.

Eight bytes a row; a hash table takes some fifty.
"""

AT_ONCE: Final = 16_384
"""Rows taken over at once: a large table is not copied whole."""

ROUNDS: Final = 8
SEED: Final = 7


class NearIndex:
    """Finds rows of a table of vectors.

    Parameters
    ----------
    vectors
        (N, d) the table.
    trained
        Whether its rows are of different lengths, as a network learns them; else they are unit
        vectors.
    """

    def __init__(self, vectors: F32, *, trained: bool = False) -> None:
        faiss.omp_set_num_threads(1)
        n, dim = vectors.shape
        self._built, self._size = n, 0
        cells = 4 * math.isqrt(n)
        self._index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim),
            dim,
            cells,
            faiss.ScalarQuantizer.QT_fp16,
            faiss.METRIC_INNER_PRODUCT,
        )
        self._index.cp.niter, self._index.cp.seed = ROUNDS, SEED
        self._index.cp.min_points_per_centroid = 1
        sample = np.random.default_rng(SEED).permutation(n)[: cells * PER_CELL]
        self._index.train(np.ascontiguousarray(vectors[np.sort(sample)]))
        self._index.set_direct_map_type(BY_ROW)
        fewer = round(min(LOOKED_AT, max(FEWEST, LOOKED_AT * DENSE / n)))
        self._index.nprobe = LOOKED_AT_TRAINED if trained else fewer
        self.update(vectors, np.zeros(0, np.int64))

    def outgrown(self, n: int) -> bool:
        """Tell whether so many vectors want cells of their own."""
        return bool(n >= GROWN * self._built)

    def update(self, vectors: F32, changed: I64) -> None:
        """Take over rows that have changed, and those that are new.

        Parameters
        ----------
        vectors
            (N, d) the table, no shorter than before.
        changed
            Rows that may have changed.
        """
        old = np.unique(changed[changed < self._size])
        for first in range(0, len(old), AT_ONCE):
            rows = old[first : first + AT_ONCE]
            moved = np.ascontiguousarray(vectors[rows])
            self._index.update_vectors(rows, moved)  # type: ignore[call-arg] # the types are of C++
        for first in range(self._size, len(vectors), AT_ONCE):
            self._index.add(np.ascontiguousarray(vectors[first : first + AT_ONCE]))
        self._size = len(vectors)

    def find(self, wanted: F32, k: int) -> I32:
        """Return the rows of the k largest inner products, largest first, -1 beyond: (n, k)."""
        _, rows = self._index.search(np.ascontiguousarray(wanted, dtype=np.float32), k)
        return np.asarray(rows, dtype=np.int32)


def nearest(vectors: F32, wanted: F32, k: int) -> I32:
    """Return what :meth:`NearIndex.find` does, by comparing with every row of a table (N, d)."""
    asked = np.ascontiguousarray(wanted, dtype=np.float32)
    _, rows = faiss.knn(asked, vectors, k, faiss.METRIC_INNER_PRODUCT)
    return np.asarray(rows, dtype=np.int32)
