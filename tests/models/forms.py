"""The forms in which a source can say what it has to say, from all that it says."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.scores import Part, Row, Sparse

F32 = NDArray[np.float32]


def sparse(table: F32) -> Sparse:
    """Return what is above 0 of (B, N) scores."""
    row, item = np.nonzero(table)
    return Sparse.of(row, item.astype(np.int32), table[row, item], table.shape)


def alike(values: F32) -> Row:
    """Return the N scores that all get, of the items that have one alone."""
    item = np.flatnonzero(values).astype(np.int32)
    return Row(len(values), item, values[item])


def part(table: F32) -> Part:
    """Return (B, N) scores of the items of which anybody is told anything."""
    item = np.flatnonzero(table.any(axis=0)).astype(np.int32)
    return Part(table.shape[1], item, table[:, item])
