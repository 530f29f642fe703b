"""What the console knows of items: cards to browse, titles for what lists name."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Iterable, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, Final, NamedTuple

from features.card import ItemCard, decode_card
from features.session import decode_session
from rillet.console.once import Once
from rillet.pace import Pace
from rillet.serving.service import Service
from stream.errors import StoreError
from stream.keys import DEFAULT_USER
from stream.settings import Settings
from stream.store import Store

__all__ = ["Shelf"]

MOST: Final = 2000
"""Cards to browse: who has more finds the others by searching. Of those as many are kept."""

LOAD_S: Final = 2.0

USERS: Final = 300
"""Users that are offered to choose from."""

SAMPLED: Final = 60
"""Users whose states tell which types of interaction the shop knows."""

TYPES: Final = ("view", "click", "like", "cart", "purchase", "rating")
"""Types that buttons are made of, in this order; ``rating`` where there is no other."""

BUTTONS: Final = 4


class _Looked(NamedTuple):
    """Cards to browse, other cards, users, and types of interaction."""

    cards: dict[str, ItemCard]
    others: dict[str, ItemCard]
    users: list[str]
    types: list[str]


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
        self._pace, self._once = Pace(LOAD_S), Once(self._load)

    async def load(self) -> bool:
        """Read cards and users anew, unless that was done a short while ago; tell whether it was.

        Raises
        ------
        StoreError
            Redis is away, and nothing was read before.
        """
        if not self._pace.due:
            return False
        try:
            await self._once()
        except StoreError:
            if not self._browsed:
                raise
            return False
        return True

    async def _load(self) -> None:
        known = list(self.cards)
        with self._pace.run():
            found = await asyncio.to_thread(_looked, self._service.settings, known)
        for item in known:
            self.cards.pop(item, None)
        self.users, self.types = found.users, found.types
        shown = [card for card in found.cards.values() if not card.withdrawn]
        shown.sort(key=lambda card: zlib.crc32(card.item.encode()))  # mixed, and always so
        self._browsed = [card.item for card in shown]
        self._keep({**found.others, **found.cards})
        self.categories = sorted({one for card in shown for one in card.categories[:1]})
        step = 360 / max(1, len(self.categories))
        self._hues = {name: int(at * step) for at, name in enumerate(self.categories)}

    async def need(self, items: Iterable[str]) -> dict[str, ItemCard]:
        """Return the cards of items; those of which nothing is known are left out."""
        wanted = list(dict.fromkeys(items))
        missing = [item for item in wanted if item not in self.cards]
        found = {item: self.cards[item] for item in wanted if item in self.cards}
        if missing:
            reader = self._service.reader
            raws = await reader.get_many([reader.keys.item(item) for item in missing])
            found |= {
                item: decode_card(raw) for item, raw in zip(missing, raws, strict=True) if raw
            }
        self._keep(found)
        return {item: found[item] for item in wanted if item in found}

    def _keep(self, cards: dict[str, ItemCard]) -> None:
        """Keep cards; of those that nobody browses the ones go that were not needed longest."""
        for item in cards:
            self.cards.pop(item, None)
        self.cards |= cards
        if (spare := len(self.cards) - 2 * MOST) > 0:
            browsed = set(self._browsed)
            for item in [one for one in self.cards if one not in browsed][:spare]:
                del self.cards[item]

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
        title = card.title if card and card.title else item
        categories = card.categories if card else []
        hue = self._hues.get(categories[0]) if categories else None
        return {
            "item": item,
            "title": title,
            "category": " / ".join(categories[:2]),
            "price": "" if card is None or card.price is None else f"{card.price:,.2f}",
            "hue": zlib.crc32(item.encode()) % 360 if hue is None else hue,
            "letter": title[:1].upper(),
        }


def _text(card: ItemCard) -> str:
    return " ".join((card.title, card.brand, *card.categories)).casefold()


def _looked(settings: Settings, known: Sequence[str]) -> _Looked:
    """Read what there is, and the cards that are known, by a connection of its own."""
    with closing(Store(settings.redis, retry_s=0.5, make=False)) as store:
        cards = {name: decode_card(raw) for name, raw in islice(store.scan("item"), MOST)}
        rest = [item for item in known if item not in cards]
        raws = store.get_many([store.keys.item(item) for item in rest])
        others = {item: decode_card(raw) for item, raw in zip(rest, raws, strict=True) if raw}
        found = list(islice(store.scan("session"), USERS))
    kinds = {kind for _, raw in found[:SAMPLED] for kind in decode_session(raw).history.types}
    users = sorted(name for name, _ in found if name != DEFAULT_USER)
    return _Looked(cards, others, users, _buttons(settings, kinds))


def _buttons(settings: Settings, kinds: set[str]) -> list[str]:
    """Return the types that a click may be: those that count as positive, and were seen."""
    positive = [one for one, rule in settings.interactions.items() if rule.role == "positive"]
    ordered: Sequence[str] = [*TYPES, *(one for one in positive if one not in TYPES)]
    usable = [one for one in ordered if one in positive and one not in ("dwell", "rating")]
    seen = [one for one in usable if one in kinds]
    if "view" in seen and "click" in seen:
        seen.remove("click")  # the same to who clicks
    return (seen or [one for one in usable if one in TYPES and one != "click"])[:BUTTONS]
