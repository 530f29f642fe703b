"""All items' vectors by another encoder: read where they are there, else encoded; off the hot path.

Everything here is meant for a thread of its own: it reads Redis by a store
that waits by itself, and touches nothing that the hot path reads.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from features.card import ItemCard, text_of
from features.reader import StoreReader
from features.text import Progress, TextEncoder
from features.vectors import VectorCache, unit_rows, with_own_vectors
from stream.settings import Settings
from stream.store import DAY_MS, Store

__all__ = ["ReEncoded", "beside", "fill", "re_encode"]


@dataclass(frozen=True, slots=True)
class ReEncoded:
    """A catalogue in the vectors of an encoder.

    Attributes
    ----------
    encoder
        Whose.
    ids
        Items that have a card.
    vectors
        (n, dim) their content vectors, own ones beside; zero where there is none.
    """

    encoder: TextEncoder
    ids: list[str]
    vectors: NDArray[np.float32]


def beside(store: Store) -> Store:
    """Return a store for another thread: the same Redis, waited for by sleeping."""
    twin = copy.copy(store)
    twin.wait = time.sleep
    return twin


def re_encode(
    settings: Settings, store: Store, encoder: TextEncoder, progress: Progress | None = None
) -> ReEncoded:
    """Return all cards' vectors by an encoder; texts that it has not seen are encoded and kept.

    Raises
    ------
    EncoderError, StoreError
    """
    reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
    cache = _cache(settings, store, encoder)
    ids: list[str] = []
    parts: list[NDArray[np.float32]] = [np.zeros((0, encoder.dim), np.float32)]
    for (cards, vectors), total in reader.scan():
        _complete(settings, cache, cards, vectors)
        own = [card.vectors for card in cards]
        parts.append(with_own_vectors(unit_rows(vectors), own, settings.items.own_vectors))
        ids += [card.item for card in cards]
        if progress is not None:
            progress(len(ids), total)
    return ReEncoded(encoder, ids, np.concatenate(parts))


def fill(
    settings: Settings, store: Store, encoder: TextEncoder, ids: Sequence[str]
) -> Sequence[str]:
    """Encode the texts of some items that have no vector yet; return the items.

    Raises
    ------
    EncoderError, StoreError
    """
    reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
    cards, vectors = reader.fetch(ids)
    _complete(settings, _cache(settings, store, encoder), cards, vectors)
    return ids


def _cache(settings: Settings, store: Store, encoder: TextEncoder) -> VectorCache:
    ttl_ms = int(settings.items.ttl_days * DAY_MS)
    return VectorCache(store, store.keys, encoder, ttl_ms=ttl_ms)


def _complete(
    settings: Settings,
    cache: VectorCache,
    cards: Sequence[ItemCard],
    vectors: NDArray[np.float32],
) -> None:
    """Fill in the vectors (n, dim) of cards that have none."""
    rows = np.flatnonzero(~vectors.any(axis=1)).tolist()
    texts = [text_of(cards[row], settings.encoder.fields) for row in rows]
    vectors[rows] = cache.vectors(texts)
