"""Asking the ranker on behalf of a request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rillet.serving.answer import Answer, Ranked
from rillet.serving.guard import Caller
from rillet.serving.models import RecommendIn
from rillet.serving.service import Service
from stream.events import Millis, Search, encode
from stream.routing import outgoing

__all__ = ["Asked", "as_json", "ordered", "remember", "searched"]


class Asked(NamedTuple):
    """Items to be put in an order, and for whom; as metarank asks too."""

    items: Sequence[str]
    user: str | None
    session: str | None
    query: str
    explain: bool


async def ordered(service: Service, asked: Asked) -> Answer:
    """Return items best first; everybody is a stranger while Redis is away."""
    return await service.aside(
        service.loaded().rank,
        asked.items,
        user=asked.user,
        session=asked.session,
        query=asked.query,
        explain=asked.explain,
    )


async def searched(service: Service, wish: RecommendIn, query: str) -> Answer:
    """Return the best items for a query.

    Raises
    ------
    StoreError
        Redis is away, and so is what ``filter`` asks about.
    """
    return await service.aside(
        service.loaded().search,
        query,
        user=wish.user,
        session=wish.session,
        n=wish.top_n,
        items=wish.items,
        exclude=frozenset(wish.exclude),
        where=wish.where(),
        explain=wish.explain,
    )


def remember(service: Service, wish: RecommendIn, query: str, caller: Caller) -> None:
    """Make a query part of the session: the next lists follow it. Nobody waits for that."""
    if "write" not in caller.scopes or not (wish.user or wish.session):
        return
    now = Millis(service.now_ms())
    event = Search(timestamp=now, user=wish.user, session=wish.session, query=query)
    service.publisher.offer([outgoing(encode(event), event, service.settings)])


def as_json(found: Sequence[Ranked], *, explain: bool) -> list[dict[str, Any]]:
    """Return ranked items as they are answered."""
    names = ("item", "score", *(("parts", "reasons", "words") if explain else ()))
    return [
        {name: getattr(one, name) for name in names} | ({} if one.known else {"known": False})
        for one in found
    ]
