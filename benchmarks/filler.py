"""Items that nobody touches, written straight into Redis: a large catalogue in little time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from features.card import encode_card, fold_item
from stream.events import Field, Item
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

__all__ = ["DIM", "HOW", "bare", "fill"]

HOW: Final = (
    "an item has its categories, maker, price and a random unit vector of its own, but no title "
    "and no description to encode; those beyond the shop's own are copies of them with other ids "
    "and vectors, written straight into Redis, which nobody touches"
)
DIM: Final = 32
TEXTS: Final = ("title", "description")
AT_ONCE: Final = 5000


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
