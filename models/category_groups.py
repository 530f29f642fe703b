"""Items by their set of categories: as many groups as there are sets, far fewer than items."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from features.catalogue import Catalogue
from features.columns import Column

__all__ = ["CategoryGroups", "Spread"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

TINY: Final = 1e-9
"""Taken at least, so that nothing is divided by nothing."""


class Spread:
    """Of each category of a group of items, one over what was taken in the category."""

    def __init__(self, shares: csr_array) -> None:
        self._shares = shares

    def reach(self, interest: F32) -> F64:
        """Return B users' interests in the categories (B, categories), by group: (B, G)."""
        return np.asarray(interest @ self._shares)


class CategoryGroups:
    """Gives every item the group of all items with its categories; none have group 0.

    Parameters
    ----------
    catalogue
        The items.

    Examples
    --------
    >>> from features.card import AsOf, ItemCard
    >>> catalogue = Catalogue(dim=1)
    >>> cards = [ItemCard(AsOf(0, 0, 0), str(n), categories=c) for n, c in enumerate(
    ...     [["tea"], ["tea", "gift"], [], ["gift", "tea"], ["tea", "tea"]])]
    >>> _ = catalogue.apply(cards, np.zeros((5, 1), np.float32))
    >>> CategoryGroups(catalogue).of_items().tolist()
    [1, 2, 0, 2, 1]
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._group: Column[np.int32] = Column(np.int32, fill=0)
        self._sets: dict[tuple[int, ...], int] = {(): 0}
        self._version = 0
        self._members: csr_array | None = None

    def __len__(self) -> int:
        """Return the number of groups G."""
        return len(self._sets)

    def of_items(self) -> NDArray[np.int32]:
        """Return each item's group: (N,)."""
        catalogue = self._catalogue
        self._group.grow(len(catalogue))
        if self._version != catalogue.version:
            changed = catalogue.changed(self._version)
            self._assign(np.arange(len(catalogue)) if changed is None else changed)
            self._version = catalogue.version
        return self._group.rows

    def _assign(self, rows: I64) -> None:
        labels = np.sort(self._catalogue.category[rows], axis=1)
        distinct, place = np.unique(labels, axis=0, return_inverse=True)
        known = len(self._sets)
        numbers = [
            self._sets.setdefault(tuple(sorted({k for k in one if k >= 0})), len(self._sets))
            for one in distinct.tolist()
        ]
        self._group.rows[rows] = np.array(numbers, dtype=np.int32)[place.reshape(-1)]
        if len(self._sets) > known:
            self._members = None

    def spread(self, taken: NDArray[Any]) -> Spread:
        """Return what each category of a group stands for, given what was taken of G groups."""
        members = self.members()
        total = members @ taken
        return Spread(members.multiply(1 / np.maximum(total, TINY)[:, None]).tocsr())

    def members(self) -> csr_array:
        """Return which categories each group has, as ones: (categories, G)."""
        width = len(self._catalogue.category_names)
        if self._members is None or self._members.shape[0] != width:
            pairs = [(label, number) for one, number in self._sets.items() for label in one]
            label, number = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
            ones = np.ones(len(pairs))
            self._members = csr_array((ones, (label, number)), shape=(width, len(self)))
        return self._members
