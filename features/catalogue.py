"""The catalogue in one process: the table of items that the hot path reads.

A structure of arrays. Row ``i`` of every array is the item ``ids[i]``; rows
are only ever appended, so a row number stays good for the life of the process
(it is not the same in another process: store ids, never row numbers). The
arrays are views that growth replaces: take them from the catalogue when you
need them, do not keep them over an :meth:`Catalogue.ensure` or
:meth:`Catalogue.apply`.

Three kinds of row: an item with a card (``known``), an item withdrawn (known,
not ``alive``), and an item that events mention before any card came (alive,
not known): all its features are missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from features.card import ItemCard
from features.columns import Column, Names, Rows
from features.content import Content, OwnContent, Vectors
from features.vectors import unit_rows, with_own_vectors
from stream.settings import ItemsSettings

__all__ = ["MAX_CATEGORIES", "CardReader", "Catalogue", "Progress"]

MAX_CATEGORIES: Final = 4
"""Categories of an item that the table holds; the card has them all."""

NONE: Final = (-1,) * MAX_CATEGORIES

MAX_CHANGES: Final = 256
"""Changes whose rows are remembered, for those who keep what they derived."""

MAX_NUMBERS: Final = 64
"""Distinct numeric fields that get an array of their own; the first to come."""

LARGEST: Final = float(np.finfo(np.float32).max)

Progress = Callable[[int, int], None]
"""Called with how many are done and how many there are in all."""

Read = tuple[Sequence[ItemCard], NDArray[np.float32]]


class CardReader(Protocol):
    """Where cards and their text vectors are read from.

    A read is the cards found and the vectors of their texts ``(n, dim)``, unit
    rows, zero where there is none.
    """

    def scan(self) -> Iterator[tuple[Read, int]]:
        """Yield all cards, in batches ordered by id, and the number of all there are."""
        ...

    def fetch(self, ids: Sequence[str]) -> Read:
        """Return the cards of these items; those without a card are left out."""
        ...


class Catalogue:
    """Items by row.

    Parameters
    ----------
    dim
        Length of the text encoder's vectors.
    items
        The settings' ``items`` group.
    encoder
        Version of the text encoder.
    content
        Holds the vectors; None holds them as they are given, for this catalogue alone.

    Attributes
    ----------
    encoder
        Version of the text encoder whose vectors these are.
    version
        Grows with every :meth:`apply`; who keeps what it derived compares it.
    exchanged
        How often all vectors were replaced: those of before are of another encoder.
    described
        How many items have a vector.
    told
        Called with the rows and the cards of every :meth:`apply`: for who keeps of a card what
        the table does not.

    Examples
    --------
    >>> from features.card import AsOf
    >>> catalogue = Catalogue(dim=2)
    >>> card = ItemCard(AsOf(0, 0, 0), "7", title="Tea cup", categories=["kitchen"], price=4.5)
    >>> catalogue.apply([card], np.array([[0.6, 0.8]], np.float32)).tolist()
    [0]
    >>> catalogue.ensure("8"), catalogue.known.tolist(), catalogue.has_vector.tolist()
    (1, [True, False], [True, False])
    >>> catalogue.category_names[catalogue.category[0, 0]]
    'kitchen'
    """

    def __init__(
        self,
        dim: int,
        items: ItemsSettings | None = None,
        encoder: str = "",
        content: Content | None = None,
    ) -> None:
        self.dim, self.items, self.encoder = dim, items or ItemsSettings(), encoder
        self.ids: list[str] = []
        self.index: dict[str, int] = {}
        self.version = self.exchanged = self.described = 0
        self.told: Callable[[NDArray[np.int64], Sequence[ItemCard]], None] | None = None
        self._changes: deque[NDArray[np.int64]] = deque(maxlen=MAX_CHANGES)
        self._alive = Column(np.bool_, fill=True)
        self._known = Column(np.bool_, fill=False)
        self._has_vector = Column(np.bool_, fill=False)
        self._vectors = content or OwnContent(dim)
        self._category = Column(np.int32, fill=-1, width=MAX_CATEGORIES)
        self._brand = Column(np.int32, fill=-1)
        self._log_price = Column(np.float32, fill=np.nan)
        self._first_seen = Column(np.int64, fill=0)
        self._numbers: dict[str, Column[np.float32]] = {}
        self._categories, self._brands = Names(), Names()
        self.token_index: dict[tuple[str, str], int] = {}
        self.token_names: list[tuple[str, str]] = []
        self.tokens = Rows()

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def alive(self) -> NDArray[np.bool_]:
        """``(n,)``: may be shown, as far as is known."""
        return self._alive.rows

    @property
    def known(self) -> NDArray[np.bool_]:
        """``(n,)``: has a card."""
        return self._known.rows

    @property
    def has_vector(self) -> NDArray[np.bool_]:
        """``(n,)``: its row of ``vectors`` is not zero."""
        return self._has_vector.rows

    @property
    def vectors(self) -> Vectors:
        """``(n, dim)``: content vectors, unit rows or zero."""
        return self._vectors.rows

    @property
    def category(self) -> NDArray[np.int32]:
        """``(n, MAX_CATEGORIES)``: indices into ``category_names``, padded with -1."""
        return self._category.rows

    @property
    def category_names(self) -> list[str]:
        """All categories, in the order in which they came."""
        return self._categories.names

    @property
    def brand(self) -> NDArray[np.int32]:
        """``(n,)``: index into ``brand_names``, -1 for none."""
        return self._brand.rows

    @property
    def brand_names(self) -> list[str]:
        """All brands, in the order in which they came."""
        return self._brands.names

    @property
    def log_price(self) -> NDArray[np.float32]:
        """``(n,)``: log(1 + price), NaN where there is no price."""
        return self._log_price.rows

    @property
    def first_seen(self) -> NDArray[np.int64]:
        """``(n,)``: epoch milliseconds of the first item event, 0 where unknown."""
        return self._first_seen.rows

    @property
    def numbers(self) -> dict[str, NDArray[np.float32]]:
        """Each numeric field by name, ``(n,)``, NaN where an item lacks it."""
        return {name: column.rows for name, column in self._numbers.items()}

    def ensure(self, item: str) -> int:
        """Return the item's row, appending one where the item is new."""
        row = self.index.get(item)
        if row is None:
            row = len(self.ids)
            self.index[item] = row
            self.ids.append(item)
            self._grow(row + 1)
        return row

    def rows_of(self, items: Iterable[str]) -> NDArray[np.int64]:
        """Return the rows ``(n,)`` of several items, appending those that are new."""
        names = list(items)
        try:
            return np.fromiter(map(self.index.__getitem__, names), np.int64, len(names))
        except KeyError:  # rare: an item is new once
            new = [name for name in dict.fromkeys(names) if name not in self.index]
            self.index.update(zip(new, range(len(self.ids), len(self.ids) + len(new)), strict=True))
            self.ids += new
            self._grow(len(self.ids))
            return np.fromiter(map(self.index.__getitem__, names), np.int64, len(names))

    def apply(self, cards: Sequence[ItemCard], vectors: NDArray[np.float32]) -> NDArray[np.int64]:
        """Write cards into the table, each in place of what was known of its item.

        Parameters
        ----------
        cards
            Cards, withdrawn ones too; of an item that stands here twice the last counts.
        vectors
            Vectors of their texts ``(n, dim)``; a zero row means that there is none.

        Returns
        -------
        rows
            Row of each card ``(n,)``.
        """
        if vectors.shape != (len(cards), self.dim):
            raise ValueError(f"vectors {vectors.shape} for {len(cards)} cards of {self.dim}")
        rows = self.rows_of(card.item for card in cards)
        content = with_own_vectors(
            unit_rows(vectors), [card.vectors for card in cards], self.items.own_vectors
        )
        last = {int(row): at for at, row in enumerate(rows)}
        order = np.fromiter(last.values(), np.int64)
        self._put_vectors(rows[order], content[order])
        if len(order):
            latest = [cards[at] for at in order.tolist()]
            self._put(rows[order], latest)
            if self.told is not None:
                self.told(rows[order], latest)
        return rows

    def exchange(self, ids: Sequence[str], vectors: NDArray[np.float32], encoder: str) -> None:
        """Replace all content vectors by those of another encoder.

        Parameters
        ----------
        ids
            Items; those that are not among them have no vector afterwards.
        vectors
            Their content vectors ``(n, dim)``, own vectors beside, of which zero rows are none.
        encoder
            Its version.
        """
        if vectors.shape != (len(ids), self.dim):
            raise ValueError(f"vectors {vectors.shape} for {len(ids)} items of {self.dim}")
        rows = self.rows_of(ids)
        self.exchanged += 1
        self.encoder = encoder
        self._vectors.clear(encoder)
        self.has_vector[:] = False
        self.described = 0
        self.version += 1
        self._changes.clear()
        self._put_vectors(rows, vectors)

    def put_vectors(self, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """Write the content vectors of some items, of the same encoder as the others.

        Parameters
        ----------
        ids
            Items, of which those that are not in the table are left out.
        vectors
            As of :meth:`exchange`.
        """
        there = [at for at, item in enumerate(ids) if item in self.index]
        rows = np.array([self.index[ids[at]] for at in there], dtype=np.int64)
        self._put_vectors(rows, vectors[there])

    def _put_vectors(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Write vectors of distinct rows, and note that these have changed."""
        there = vectors.any(axis=1)
        self.described += int(there.sum()) - int(self.has_vector[rows].sum())
        self._vectors.put(rows, vectors)
        self.has_vector[rows] = there
        self.version += 1
        self._changes.append(rows)

    def changed(self, since: int) -> NDArray[np.int64] | None:
        """Return the rows changed after a version, None where that is not remembered."""
        recent = self.version - since
        if recent > len(self._changes):
            return None
        latest = list(self._changes)[len(self._changes) - recent :]
        return np.unique(np.concatenate([np.zeros(0, np.int64), *latest]))

    def tidy(self) -> None:
        """Free the memory of vectors that were replaced, where it has become much."""
        self._vectors.tidy(self.described)

    def load(self, reader: CardReader, progress: Progress | None = None) -> int:
        """Read all cards there are; return how many. Rows come in the order of ids."""
        done = 0
        for (cards, vectors), total in reader.scan():
            self.apply(cards, vectors)
            done += len(cards)
            if progress is not None:
                progress(done, total)
        return done

    def refresh(self, reader: CardReader, ids: Sequence[str]) -> NDArray[np.int64]:
        """Read the cards of these items anew; return the rows of those found.

        An item whose card is gone (expired, or a Redis that lost its data and
        is being refilled) stays as it was.
        """
        return self.apply(*reader.fetch(ids))

    def _grow(self, size: int) -> None:
        for column in (self._alive, self._known, self._has_vector):
            column.grow(size)
        self._vectors.grow(size)
        self._category.grow(size)
        self._brand.grow(size)
        self._log_price.grow(size)
        self._first_seen.grow(size)
        for number in self._numbers.values():
            number.grow(size)
        self.tokens.grow(size)

    def _put(self, rows: NDArray[np.int64], cards: Sequence[ItemCard]) -> None:
        """Write the cards of distinct rows, column by column."""
        self.alive[rows] = [not card.withdrawn for card in cards]
        self.known[rows] = True
        self.first_seen[rows] = [card.first_seen for card in cards]
        category, brand = self._categories.number, self._brands.number
        few = [[*map(category, card.categories[:MAX_CATEGORIES]), *NONE] for card in cards]
        self.category[rows] = [labels[:MAX_CATEGORIES] for labels in few]
        self.brand[rows] = [brand(card.brand) if card.brand else -1 for card in cards]
        prices = [np.nan if card.price is None else card.price for card in cards]
        self.log_price[rows] = np.log1p(prices)
        self._put_numbers(rows, [card.numbers for card in cards])
        lists, token = [card.lists.items() for card in cards], self._token
        self.tokens.put([[token(n, v) for n, vs in its for v in vs] for its in lists], rows)

    def _put_numbers(self, rows: NDArray[np.int64], numbers: Sequence[Mapping[str, float]]) -> None:
        for name in dict.fromkeys(name for its in numbers for name in its):
            if name not in self._numbers and len(self._numbers) < MAX_NUMBERS:
                self._numbers[name] = Column(np.float32, fill=np.nan)
                self._numbers[name].grow(len(self.ids))
        for name, column in self._numbers.items():
            values = [its.get(name, np.nan) for its in numbers]
            # beyond float32 there is only infinity, which would poison every mean
            column.rows[rows] = np.clip(values, -LARGEST, LARGEST)

    def _token(self, field: str, value: str) -> int:
        token = (field, value)
        number = self.token_index.setdefault(token, len(self.token_names))
        if number == len(self.token_names):
            self.token_names.append(token)
        return number
