"""Reads item cards and their vectors back out of Redis, in bulk."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import Final, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.card import ItemCard, decode_card
from stream.keys import Keys

__all__ = ["BATCH", "CardStore", "Read", "StoreReader", "read_card"]

log = logging.getLogger(__name__)

BATCH: Final = 1000
"""Cards in one batch of a scan."""

Read = tuple[Sequence[ItemCard], NDArray[np.float32]]
"""Cards, and the vectors of their texts (n, dim), zero where there is none."""


class CardStore(Protocol):
    """What the reader needs of :class:`stream.store.Store`."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of the keys, None where there is none."""
        ...

    def names(self, kind: str) -> Iterator[str]:
        """Yield the name of every key of a kind."""
        ...


class StoreReader:
    """A :class:`features.catalogue.CardReader` over Redis.

    Parameters
    ----------
    store
        Where cards and vectors lie.
    keys
        Builds their keys.
    version, dim
        Of the text encoder: whose vectors are read. A text that this encoder
        has not seen yet has none.

    Attributes
    ----------
    version
        Of the text encoder.
    missing
        Items read whose texts had no vector.
    """

    def __init__(self, store: CardStore, keys: Keys, *, version: str, dim: int) -> None:
        self._store, self._keys = store, keys
        self.version, self._dim = version, dim
        self.missing: set[str] = set()

    def scan(self, check: Callable[[], None] | None = None) -> Iterator[tuple[Read, int]]:
        """Yield all cards in batches ordered by id, and the number of all there are.

        The order of Redis differs from run to run; that of ids does not.

        Parameters
        ----------
        check
            Called for each card before the first batch, while their ids are collected; it
            raises what is to end that.
        """
        found = set()
        for item in self._store.names("item"):
            found.add(item)
            if check is not None:
                check()
        ids = sorted(found)
        for start in range(0, len(ids), BATCH):
            yield self.fetch(ids[start : start + BATCH]), len(ids)

    def fetch(self, ids: Sequence[str]) -> Read:
        """Return the cards of these items, those without one left out, and their vectors."""
        raws = self._store.get_many([self._keys.item(item) for item in ids])
        cards = [card for raw in raws if raw and (card := read_card(raw)) is not None]
        return cards, self._vectors(cards)

    def _vectors(self, cards: Sequence[ItemCard]) -> NDArray[np.float32]:
        out = np.zeros((len(cards), self._dim), np.float32)
        rows = [row for row, card in enumerate(cards) if card.text_hash]
        keys = [self._keys.vector(self.version, cards[row].text_hash) for row in rows]
        raws = self._store.get_many(keys) if keys else []
        whole = [raw is not None and len(raw) == 2 * self._dim for raw in raws]
        found = np.frombuffer(b"".join(raw for raw in compress(raws, whole) if raw), "<f2")
        out[list(compress(rows, whole))] = found.reshape(-1, self._dim)
        lacking = (row for row, there in zip(rows, whole, strict=True) if not there)
        self.missing.update(cards[row].item for row in lacking)
        return out


def read_card(raw: bytes) -> ItemCard | None:
    """Return the card, or None (and a warning) where the bytes are none."""
    try:
        return decode_card(raw)
    except msgspec.MsgspecError as error:
        log.warning("an item card cannot be read and counts as absent: %s", error)
        return None
