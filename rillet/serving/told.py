"""Lists as answers, with their reasons in words where somebody asks for them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

import msgspec
from fastapi import Response
from msgspec import Raw, Struct

from features.card import ItemCard
from features.reader import read_card
from features.session import Session, decode_session
from models.answer import Reason
from rillet.serving.lists import chosen, plain, recommended
from rillet.serving.reading import Listing, json_answer
from rillet.serving.service import Service
from rillet.serving.stored import stored
from rillet.words import all_in_words
from stream.errors import StoreError

__all__ = ["list_answer"]


class _Told(Struct, omit_defaults=True, gc=False):
    """An item of a list, why it is there, and that as a person would say it."""

    item: str
    score: float
    reasons: list[Reason] = []
    words: list[str] = []


_TOLD: Final = msgspec.json.Decoder(_Told)


async def list_answer(
    service: Service,
    listed: Listing,
    n: int,
    *,
    explain: bool,
    among: Container[str] | None = None,
) -> Response:
    """Return the first n items of a list as an answer, where asked for with reasons in words.

    Parameters
    ----------
    service
        Reads Redis.
    listed
        The list.
    n, among
        How many items at the most, and which may be among them; None for all.
    explain
        Whether reasons are told.
    """
    found, user, degraded = listed
    raws = chosen(found, n, among)
    items, away = await _told(service, raws, user) if explain else (plain(raws), False)
    return json_answer(service, recommended(found, user, items), degraded=degraded or away)


async def _told(
    service: Service, raws: Sequence[Raw], user: str | None
) -> tuple[list[_Told], bool]:
    """Return items with their reasons in words, and whether Redis was away for that.

    Without Redis, which knows what they are called, the words have the items' ids.

    Parameters
    ----------
    service
        Reads Redis.
    raws
        JSON of each item.
    user
        Whose list it is; None where it is everybody's.

    Raises
    ------
    RilletError
        An item cannot be read.
    """
    items = [stored(bytes(raw), _TOLD, "the list") for raw in raws]
    named = dict.fromkeys(one.item for one in items if one.reasons)
    named |= dict.fromkeys(why.item for one in items for why in one.reasons if why.item)
    try:
        cards, session = await _known(service, list(named), user)
        degraded = False
    except StoreError:
        cards, session, degraded = {}, None, True
    for one in items:
        one.words = all_in_words(one.reasons, cards, session, one.item)
    return items, degraded


async def _known(
    service: Service, items: list[str], user: str | None
) -> tuple[dict[str, ItemCard], Session | None]:
    """Return the items' cards, and the user's state, as far as there are any."""
    keys = service.reader.keys
    names = service.names(user) if user is not None else []
    asked = [*map(keys.item, items), *map(keys.session, names)]
    raws = await service.reader.get_many(asked)
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
