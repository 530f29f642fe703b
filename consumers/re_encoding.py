"""All items' vectors by another encoder: read where they are there, else encoded; off the hot path.

Everything here is meant for a thread of its own: it reads Redis by a store
that waits by itself, and touches nothing that the hot path reads.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from features.card import ItemCard, text_of
from features.reader import BATCH, Read, StoreReader
from features.text import Progress, TextEncoder
from features.vectors import VectorCache, item_vectors, unit_rows, with_own_vectors
from stream.errors import StoppedError
from stream.settings import Settings
from stream.store import Store

__all__ = ["ReEncoded", "beside", "fill", "re_encode", "unless"]


@dataclass(frozen=True, slots=True)
class ReEncoded:
    """A catalogue, or a part of it, in the vectors of an encoder.

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


def beside(store: Store, stop: threading.Event) -> Store:
    """Return a store for another thread: the same Redis, waited for until ``stop`` is set."""

    def wait(seconds: float) -> None:
        if stop.wait(seconds):
            raise StoppedError("the process ends")

    twin = copy.copy(store)
    twin.wait = wait
    return twin


def unless(stop: threading.Event) -> Progress:
    """Return a progress that shows nothing, and raises :class:`StoppedError` once it is to end."""

    def progress(done: int, total: int) -> None:
        if stop.is_set():
            raise StoppedError("the process ends")

    return progress


def re_encode(
    settings: Settings, store: Store, encoder: TextEncoder, progress: Progress | None = None
) -> ReEncoded:
    """Return all cards' vectors by an encoder; texts that it has not seen are encoded and kept.

    Parameters
    ----------
    settings, store, encoder
        Whose vectors of what.
    progress
        Told of the cards that are done, and of each batch of texts that is encoded. What it
        raises ends all, what is encoded by then is kept but for the last thousand cards.

    Raises
    ------
    EncoderError, StoreError
    """
    reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
    check = None if progress is None else partial(progress, 0, 1)  # how many, it does not know yet
    return _encoded(settings, store, encoder, reader.scan(check), progress)


def fill(
    settings: Settings,
    store: Store,
    encoder: TextEncoder,
    ids: Sequence[str],
    progress: Progress | None = None,
) -> ReEncoded:
    """Return the vectors of some items whose texts have none where their cards say.

    They are returned, not left to be read: where `encoder.fields` is another than when
    a card was written, the card does not say where the vector of its text lies now.

    Raises
    ------
    EncoderError, StoreError
    """
    reader = StoreReader(store, store.keys, version=encoder.version, dim=encoder.dim)
    firsts = range(0, len(ids), BATCH)
    reads = ((reader.fetch(ids[first : first + BATCH]), len(ids)) for first in firsts)
    return _encoded(settings, store, encoder, reads, progress)


def _encoded(
    settings: Settings,
    store: Store,
    encoder: TextEncoder,
    reads: Iterable[tuple[Read, int]],
    progress: Progress | None,
) -> ReEncoded:
    cache = item_vectors(settings, store, encoder)
    ids: list[str] = []
    parts: list[NDArray[np.float32]] = [np.zeros((0, encoder.dim), np.float32)]
    for (cards, vectors), total in reads:
        _complete(settings, cache, cards, vectors, partial(_within, progress, len(ids), total))
        own = [card.vectors for card in cards]
        parts.append(with_own_vectors(unit_rows(vectors), own, settings.items.own_vectors))
        ids += [card.item for card in cards]
        if progress is not None:
            progress(len(ids), total)
    return ReEncoded(encoder, ids, np.concatenate(parts))


def _complete(
    settings: Settings,
    cache: VectorCache,
    cards: Sequence[ItemCard],
    vectors: NDArray[np.float32],
    progress: Progress,
) -> None:
    """Fill in the vectors (n, dim) of cards that have none."""
    rows = np.flatnonzero(~vectors.any(axis=1)).tolist()
    texts = [text_of(cards[row], settings.encoder.fields) for row in rows]
    vectors[rows] = cache.vectors(texts, progress)


def _within(progress: Progress | None, before: int, total: int, encoded: int, _: int) -> None:
    """Tell of texts that are encoded, on top of the cards that were done before."""
    if progress is not None:
        progress(before + encoded, total)
