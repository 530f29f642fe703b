"""Items of a list with their reasons in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from features.card import ItemCard
from features.reader import read_card
from features.session import Session, decode_session
from models.answer import Reason
from rillet.serving.service import Service
from rillet.words import all_in_words
from stream.errors import StoreError

__all__ = ["Told", "told"]


class Told(Struct, omit_defaults=True, gc=False):
    """An item of a list, why it is there, and that as a person would say it."""

    item: str
    score: float
    reasons: list[Reason] = []
    words: list[str] = []


_TOLD: Final = msgspec.json.Decoder(Told)


async def told(service: Service, raws: Sequence[Raw], user: str | None) -> list[Told]:
    """Return items with their reasons in words.

    Without Redis, which knows what they are called, the words have the items' ids.

    Parameters
    ----------
    service
        Reads Redis.
    raws
        JSON of each item.
    user
        Whose list it is; None where it is everybody's.
    """
    items = [_TOLD.decode(raw) for raw in raws]
    named = dict.fromkeys(one.item for one in items if one.reasons)
    named |= dict.fromkeys(why.item for one in items for why in one.reasons if why.item)
    cards, session = await _known(service, list(named), user)
    for one in items:
        one.words = all_in_words(one.reasons, cards, session, one.item)
    return items


async def _known(
    service: Service, items: list[str], user: str | None
) -> tuple[dict[str, ItemCard], Session | None]:
    """Return the items' cards, and the user's state, as far as Redis has them."""
    keys = service.reader.keys
    names = service.names(user) if user is not None else []
    asked = [*map(keys.item, items), *map(keys.session, names)]
    try:
        raws = await service.reader.get_many(asked)
    except StoreError:
        return {}, None
    cards = {
        item: card
        for item, raw in zip(items, raws, strict=False)
        if raw and (card := read_card(raw)) is not None
    }
    return cards, next(filter(None, map(_session, raws[len(items) :])), None)


def _session(raw: bytes | None) -> Session | None:
    try:
        return decode_session(raw) if raw else None
    except msgspec.MsgspecError:
        return None  # then nobody knows how long ago he took something
