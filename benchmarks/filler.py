"""Items that nobody touches, put straight where they are read: a large catalogue in little time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from features.card import ItemCard, encode_card, fold_item
from features.catalogue import Catalogue
from stream.events import Field, Item
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

__all__ = ["CROWD", "DIM", "HOW", "bare", "crowd", "fill"]

HOW: Final = (
    "an item has its categories, maker, price and a random unit vector of its own, but no title "
    "and no description to encode; those beyond the shop's own are copies of them with other ids "
    "and vectors, written straight into Redis, which nobody touches"
)
CROWD: Final = (
    "items beyond the shop's own are put straight into the catalogue of the process: copies of "
    "the shop's with other ids and titles, each with a vector between those of two of the shop's "
    "items, and noise; nobody touches them, but all sources look among them"
)
DIM: Final = 32
TEXTS: Final = ("title", "description")
AT_ONCE: Final = 5000
NOISE: Final = 0.3
"""Length of what is added to a vector, whose own length is at most 1."""

PLANE: Final = 64
"""Dimensions of the noise: texts' vectors fill their space no more than that."""


def bare(item: Item, number: int) -> Item:
    """Return an item with a random vector instead of its texts; the same number, the same one."""
    values = np.random.default_rng([number, DIM]).normal(size=DIM)
    vector = [round(float(value), 4) for value in values / np.linalg.norm(values)]
    kept = [field for field in item.fields if field.name not in TEXTS]
    fields = [*kept, Field("vector:own", list[str | float](vector))]
    return Item(timestamp=item.timestamp, id=item.id, item=item.item, fields=fields)


def fill(store: Store, settings: Settings, items: Sequence[Item], count: int) -> None:
    """Write so many further items' cards, as the consumer ``catalogue`` would have.

    Parameters
    ----------
    store, settings
        Where to, and what the cards are made by.
    items
        Bare ones; each is copied in turn.
    count
        How many are written, named ``filler-0`` and on.
    """
    cards = [fold_item(None, item, settings, partition=0, offset=0) for item in items]
    for first in range(0, count, AT_ONCE):
        last = min(first + AT_ONCE, count)
        values = np.random.default_rng([first, DIM]).normal(size=(last - first, DIM))
        vectors = np.round(values / np.linalg.norm(values, axis=1, keepdims=True), 4).tolist()
        plain = []
        for number, vector in zip(range(first, last), vectors, strict=True):
            name, form = f"filler-{number}", cards[number % len(cards)]
            card = msgspec.structs.replace(form, item=name, vectors={"own": vector})
            plain.append(Plain(store.keys.item(name), encode_card(card), store.ttl_ms))
        store.write_plain(plain)


def crowd(catalogue: Catalogue, settings: Settings, items: Sequence[Item], count: int) -> None:
    """Put so many further items into a process' catalogue, past Kafka, Redis and the encoder.

    Parameters
    ----------
    catalogue
        Holds the shop's items, with their vectors.
    settings
        What the cards are made by.
    items
        The shop's; each is copied in turn.
    count
        How many are put, named ``filler-0`` and on, the same with every call.
    """
    cards = [fold_item(None, item, settings, partition=0, offset=0) for item in items]
    rows = np.sort(catalogue.rows_of([item.item for item in items]))
    known = catalogue.vectors[rows[catalogue.has_vector[rows]]]
    plane = np.random.default_rng(PLANE).normal(size=(PLANE, catalogue.dim))
    plane *= NOISE / np.sqrt(PLANE * catalogue.dim)
    for first in range(0, count, AT_ONCE):
        many = min(AT_ONCE, count - first)
        draw = np.random.default_rng([first, PLANE])
        one, other = known[draw.integers(0, len(known), (2, many))]
        share = draw.uniform(0.5, 1.0, (many, 1))
        vectors = one * share + other * (1 - share) + draw.normal(size=(many, PLANE)) @ plane
        copies = [
            _copied(cards[number % len(cards)], number) for number in range(first, first + many)
        ]
        catalogue.apply(copies, vectors.astype(np.float32))


def _copied(card: ItemCard, number: int) -> ItemCard:
    """Return a card of another item, which is as old as can be: it is not to count as new."""
    title = f"{card.title} {number}"
    return msgspec.structs.replace(card, item=f"filler-{number}", title=title, first_seen=1)
