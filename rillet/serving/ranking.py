"""Asking the ranker on behalf of a request, and what is answered where Redis is away."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from rillet.serving.guard import Caller
from rillet.serving.models import RecommendIn
from rillet.serving.searching import Found
from rillet.serving.service import Service
from stream.errors import StoreError
from stream.events import Millis, Search, encode
from stream.routing import outgoing

__all__ = ["Asked", "Order", "as_json", "ordered", "remember", "searched"]

log = logging.getLogger(__name__)


class Asked(NamedTuple):
    """Items to be put in an order, and for whom; as metarank asks too."""

    items: Sequence[str]
    user: str | None
    session: str | None
    query: str
    explain: bool


class Order(NamedTuple):
    """Items in their order, and whether it is the one they came in for need."""

    found: Sequence[Found]
    degraded: bool


class _AsGiven(msgspec.Struct):
    """An item of which nothing could be found out."""

    item: str
    score: float = 0.0
    parts: dict[str, float] = {}
    reasons: list[Any] = []
    words: list[str] = []


async def ordered(service: Service, asked: Asked) -> Order:
    """Return items best first; in the order in which they were given where Redis is away."""
    items = list(dict.fromkeys(asked.items))
    ranker = service.loaded()
    try:
        found = await service.aside(
            ranker.rank,
            items,
            user=asked.user,
            session=asked.session,
            query=asked.query,
            explain=asked.explain,
        )
    except StoreError as error:
        log.warning("items are left in the order in which they came: %s", error)
        return Order([_AsGiven(item) for item in items], True)
    return Order(found, False)


async def searched(service: Service, wish: RecommendIn, query: str) -> Sequence[Found]:
    """Return the best items for a query."""
    return await service.aside(
        service.loaded().search,
        query,
        user=wish.user,
        session=wish.session,
        n=wish.top_n,
        items=wish.items,
        exclude=frozenset(wish.exclude),
        where=wish.filter.where() if wish.filter else None,
        explain=wish.explain,
    )


def remember(service: Service, wish: RecommendIn, query: str, caller: Caller) -> None:
    """Make a query part of the session: the next lists follow it. Nobody waits for that."""
    if "write" not in caller.scopes or not (wish.user or wish.session):
        return
    now = Millis(service.now_ms())
    event = Search(timestamp=now, user=wish.user, session=wish.session, query=query)
    service.publisher.offer([outgoing(encode(event), event, service.settings)])


def as_json(found: Sequence[Found], *, explain: bool) -> list[dict[str, Any]]:
    """Return ranked items as they are answered."""
    if not explain:
        return [{"item": one.item, "score": one.score} for one in found]
    names = ("item", "score", "parts", "reasons", "words")
    return [{name: getattr(one, name) for name in names} for one in found]
