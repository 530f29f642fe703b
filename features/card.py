"""The item card: everything known of one item, folded from its events.

The card is a pure fold over the item's events in partition order, so a
redelivered catalogue ends in the same bytes. An event *sets* the fields that
it names and leaves the others as they were; a field whose value is ``null`` is
removed. ``delete`` withdraws the item and keeps what was known; a later
``item`` lists it again.

What is kept of a field depends on its value:

====================================  =======================================
a number or a boolean                 ``numbers``
a list, or a string of <= 100 chars   ``lists``: words that items may share
a longer string, prose, title, URL    ``texts``
a list of numbers in ``vector:NAME``  ``vectors``: unit length, 4 decimals
====================================  =======================================

Limits: at most ``items.max_fields`` fields (the first to come stay), names of
64 characters, ``items.max_values`` values in a list, 100 characters in a word,
``items.max_chars`` in a text, 4096 numbers in a vector. What goes beyond is
cut, and ``cut`` says how often that happened in the item's last event.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec
from msgspec import Struct

from features.text import text_hash
from stream.events import Delete, Field, Item
from stream.settings import Settings

__all__ = ["AsOf", "ItemCard", "decode_card", "encode_card", "fold_item", "text_of"]

MAX_NAME: Final = 64
MAX_WORD: Final = 100
MAX_VECTOR: Final = 4096
VECTOR: Final = "vector:"
"""Fields that begin so hold a vector of the item's own."""

Value = bool | float | str | list[str | float]


class AsOf(Struct, frozen=True, gc=False):
    """The last record folded into a state."""

    partition: int
    offset: int
    event_time: int


class ItemCard(Struct, frozen=True, gc=False, omit_defaults=True):
    """One item. As JSON it begins with ``as_of``, which stamped writes rely on.

    Attributes
    ----------
    title, categories, brand, price
        What the settings' ``items`` group makes of the fields below.
    numbers, lists, texts, vectors
        The item's fields by kind of value.
    first_seen, updated
        The earliest and the latest time (epoch milliseconds) of its events.
    text_hash, encoder
        Where its content vector lies: see :meth:`stream.keys.Keys.vector`.
    cut
        How many values of its last event were shortened or left out.
    """

    as_of: AsOf
    item: str
    title: str = ""
    categories: list[str] = []
    brand: str = ""
    price: float | None = None
    numbers: dict[str, float] = {}
    lists: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    vectors: dict[str, list[float]] = {}
    first_seen: int = 0
    updated: int = 0
    withdrawn: bool = False
    text_hash: str = ""
    encoder: str = ""
    cut: int = 0


_DECODER: Final = msgspec.json.Decoder(ItemCard)


def encode_card(card: ItemCard) -> bytes:
    """Return the card's JSON, the value of :meth:`stream.keys.Keys.item`."""
    return msgspec.json.encode(card)


def decode_card(raw: bytes) -> ItemCard:
    """Read a card's JSON; the mirror of :func:`encode_card`.

    Raises
    ------
    msgspec.MsgspecError
        The bytes are not a card.
    """
    return _DECODER.decode(raw)


def fold_item(
    card: ItemCard | None, event: Item | Delete, settings: Settings, *, partition: int, offset: int
) -> ItemCard:
    """Return the card after one event of its item; the card given is not changed.

    An event at or below the card's own stamp was folded before: the card comes
    back as it is. A ``delete`` of an unknown item leaves a withdrawn card, so
    that a late ``ranking`` does not bring the item back.

    Parameters
    ----------
    card
        What was known so far; None for a new item.
    event
        ``item``, or a ``delete`` that names an item.
    settings
        ``items`` and ``encoder.fields`` say what fields mean.
    partition, offset
        Where the event lay.

    Examples
    --------
    >>> event = Item(timestamp=5, item="7", fields=[Field("title", "Tea cup"), Field("price", 4.5)])
    >>> card = fold_item(None, event, Settings(), partition=0, offset=0)
    >>> card.title, card.price, text_of(card, Settings().encoder.fields)
    ('Tea cup', 4.5, 'Tea cup')
    >>> priceless = Item(timestamp=6, item="7", fields=[Field("price", None)])
    >>> card = fold_item(card, priceless, Settings(), partition=0, offset=1)
    >>> card.title, card.price
    ('Tea cup', None)
    """
    if card is not None and card.as_of.partition == partition and offset <= card.as_of.offset:
        return card
    time = int(event.timestamp)
    as_of = AsOf(partition, offset, time)
    before = card or ItemCard(as_of, str(event.item), first_seen=time, updated=time)
    seen = {"first_seen": min(before.first_seen, time), "updated": max(before.updated, time)}
    if isinstance(event, Delete):
        return msgspec.structs.replace(before, as_of=as_of, withdrawn=True, cut=0, **seen)
    fields = _Fields(before, settings)
    for field in event.fields:
        fields.put(field)
    return fields.card(before, as_of, seen)


def text_of(card: ItemCard, names: tuple[str, ...]) -> str:
    """Return the text to encode: the named fields in this order, each value once.

    Examples
    --------
    >>> card = ItemCard(AsOf(0, 0, 0), "7", texts={"title": "Up"}, lists={"tags": ["kids", "air"]})
    >>> text_of(card, ("title", "tags"))
    'Up. kids, air'
    """
    parts: dict[str, None] = {}
    for name in names:
        part = card.texts.get(name) or ", ".join(card.lists.get(name, ()))
        if part.strip():
            parts[part.strip()] = None
    return ". ".join(parts)


class _Fields:
    """A card's fields while an event is being folded into them."""

    def __init__(self, card: ItemCard, settings: Settings) -> None:
        self.items, self.text_fields = settings.items, settings.encoder.fields
        self.numbers, self.lists = dict(card.numbers), dict(card.lists)
        self.texts, self.vectors = dict(card.texts), dict(card.vectors)
        self.cut = 0

    def put(self, field: Field) -> None:
        """Set or remove one field, within the limits."""
        name, value = field.name, field.value
        for kind in (self.numbers, self.lists, self.texts):
            kind.pop(name, None)
        if name.startswith(VECTOR):
            self.vectors.pop(name[len(VECTOR) :], None)
        if value is None or value in ("", []):
            return
        if not name or len(name) > MAX_NAME or self._count() >= self.items.max_fields:
            self.cut += 1
        elif isinstance(value, str):
            self._put_text(name, value)
        elif isinstance(value, list):
            self._put_list(name, value)
        elif math.isfinite(value):
            self.numbers[name] = float(value)
        else:
            self.cut += 1

    def _count(self) -> int:
        return len(self.numbers) + len(self.lists) + len(self.texts) + len(self.vectors)

    def _put_text(self, name: str, value: str) -> None:
        prose = name in self.items.title or name in self.items.texts or "://" in value
        if not prose and len(value) <= MAX_WORD:
            self.lists[name] = [value]
            return
        self.cut += len(value) > self.items.max_chars
        self.texts[name] = value[: self.items.max_chars]

    def _put_list(self, name: str, values: list[str | float]) -> None:
        if name.startswith(VECTOR):
            self._put_vector(name[len(VECTOR) :], values)
            return
        words = [v if isinstance(v, str) else f"{v:g}" for v in values]
        kept = list(dict.fromkeys(w[:MAX_WORD] for w in words[: self.items.max_values] if w))
        self.cut += (len(words) > self.items.max_values) + any(len(w) > MAX_WORD for w in words)
        if kept:
            self.lists[name] = kept

    def _put_vector(self, name: str, values: list[str | float]) -> None:
        numbers = [v for v in values if not isinstance(v, str) and math.isfinite(v)]
        length = math.hypot(*numbers) if len(numbers) <= MAX_VECTOR else 0.0
        if len(numbers) < len(values) or not 0 < length < math.inf:
            self.cut += 1
            return
        self.vectors[name] = [round(v / length, 4) for v in numbers]

    def card(self, before: ItemCard, as_of: AsOf, seen: dict[str, int]) -> ItemCard:
        """Return the card with these fields and all that follows from them."""
        words = {**{name: [text] for name, text in self.texts.items()}, **self.lists}
        groups = [words.get(name, []) for name in self.items.categories]
        card = msgspec.structs.replace(
            before,
            as_of=as_of,
            title=next((words[n][0] for n in self.items.title if n in words), ""),
            categories=list(dict.fromkeys(word for group in groups for word in group)),
            brand=next((words[n][0] for n in self.items.brand if n in words), ""),
            price=self._price(words),
            numbers=self.numbers,
            lists=self.lists,
            texts=self.texts,
            vectors=self.vectors,
            withdrawn=False,
            cut=self.cut,
            **seen,
        )
        text = text_of(card, self.text_fields)
        return msgspec.structs.replace(card, text_hash=text_hash(text))

    def _price(self, words: dict[str, list[str]]) -> float | None:
        for name in self.items.price:
            price = self.numbers.get(name)
            if price is None and name in words:
                price = _number(words[name][0])
            if price is not None and 0 <= price < math.inf:
                return price
        return None


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
