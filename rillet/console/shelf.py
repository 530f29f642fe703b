"""What the console knows of items: cards to browse, titles for what lists name."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, Final

from features.card import ItemCard, decode_card
from features.session import decode_session
from rillet.serving.service import Service
from stream.keys import DEFAULT_USER
from stream.settings import Settings
from stream.store import Store

__all__ = ["Shelf", "plain_card"]

MOST: Final = 2000
"""Cards to browse: who has more finds the others by searching."""

USERS: Final = 300
"""Users that are offered to choose from."""

SAMPLED: Final = 60
"""Users whose states tell which types of interaction the shop knows."""

TYPES: Final = ("view", "click", "like", "cart", "purchase", "rating")
"""Types that buttons are made of, in this order; ``rating`` where there is no other."""

BUTTONS: Final = 4


class Shelf:
    """Cards by item; loads what it does not have.

    Parameters
    ----------
    service
        Reads Redis.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self.cards: dict[str, ItemCard] = {}
        self.users: list[str] = []
        self.categories: list[str] = []
        self.types: list[str] = []
        self._hues: dict[str, int] = {}
        self._browsed: list[str] = []

    async def load(self) -> None:
        """Read cards and users anew where there are few of them yet."""
        if len(self._browsed) < MOST or not self.users:
            cards, users, types = await asyncio.to_thread(_looked, self._service.settings)
            self.cards.update(cards)
            self.users, self.types = users, types
            shown = [card for card in cards.values() if not card.withdrawn]
            shown.sort(key=lambda card: zlib.crc32(card.item.encode()))  # mixed, and always so
            self._browsed = [card.item for card in shown]
            self.categories = sorted({one for card in shown for one in card.categories[:1]})
            step = 360 / max(1, len(self.categories))
            self._hues = {name: int(at * step) for at, name in enumerate(self.categories)}

    async def need(self, items: Iterable[str]) -> dict[str, ItemCard]:
        """Return the cards of items; those of which nothing is known are left out."""
        wanted = list(dict.fromkeys(items))
        missing = [item for item in wanted if item not in self.cards]
        if missing:
            reader = self._service.reader
            raws = await reader.get_many([reader.keys.item(item) for item in missing])
            found = {item: decode_card(raw) for item, raw in zip(missing, raws, strict=True) if raw}
            self.cards.update(found)
        return {item: self.cards[item] for item in wanted if item in self.cards}

    def browse(self, category: str, words: str) -> list[str]:
        """Return items of a category whose titles have all of these words; "" is any."""
        wanted = words.casefold().split()
        return [
            item
            for item in self._browsed
            if (not category or category in self.cards[item].categories)
            and all(word in _text(self.cards[item]) for word in wanted)
        ]

    def plain(self, item: str) -> dict[str, Any]:
        """Return what is shown of an item, as plain values."""
        card = self.cards.get(item)
        plain = plain_card(item, card)
        if card is not None and card.categories:
            plain["hue"] = self._hues.get(card.categories[0], plain["hue"])
        return plain


def plain_card(item: str, card: ItemCard | None) -> dict[str, Any]:
    """Return what is shown of an item, as plain values.

    Examples
    --------
    >>> plain_card("sku-7", None)["letter"]
    'S'
    """
    title = card.title if card and card.title else item
    category = " / ".join(card.categories[:2]) if card else ""
    price = "" if card is None or card.price is None else f"{card.price:,.2f}"
    hue = zlib.crc32(item.encode()) % 360
    letter = title[:1].upper()
    return {
        **{"item": item, "title": title, "category": category, "price": price},
        **{"hue": hue, "letter": letter},
    }


def _text(card: ItemCard) -> str:
    return " ".join((card.title, card.brand, *card.categories)).casefold()


def _looked(settings: Settings) -> tuple[dict[str, ItemCard], list[str], list[str]]:
    """Return cards, users, and types of interaction, by a connection of its own."""
    store = Store(settings.redis, retry_s=0.5, make=False)
    try:
        cards = {name: decode_card(raw) for name, raw in islice(store.scan("item"), MOST)}
        found = list(islice(store.scan("session"), USERS))
    finally:
        store.close()
    kinds = {kind for _, raw in found[:SAMPLED] for kind in decode_session(raw).history.types}
    users = sorted(name for name, _ in found if name != DEFAULT_USER)
    return cards, users, _buttons(settings, kinds)


def _buttons(settings: Settings, kinds: set[str]) -> list[str]:
    """Return the types that a click may be: those that count as positive, and were seen."""
    positive = [one for one, rule in settings.interactions.items() if rule.role == "positive"]
    ordered: Sequence[str] = [*TYPES, *(one for one in positive if one not in TYPES)]
    usable = [one for one in ordered if one in positive and one not in ("dwell", "rating")]
    seen = [one for one in usable if one in kinds]
    if "view" in seen and "click" in seen:
        seen.remove("click")  # the same to who clicks
    return (seen or [one for one in usable if one in TYPES and one != "click"])[:BUTTONS]
