"""Lists from Redis, or where it is away, from memory; and what is left of them by conditions."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final, NamedTuple

from fastapi import Response

from features.reader import read_card
from rillet.serving.lists import Kept, kept
from rillet.serving.service import Service
from rillet.serving.where import Where
from stream.errors import NothingYetError, StoreError
from stream.keys import DEFAULT_USER

__all__ = ["DEGRADED", "Listing", "admitted", "json_answer", "listing", "trending"]

DEGRADED: Final = "X-Rillet-Degraded"
"""Says which server an answer had to be made without."""


class Listing(NamedTuple):
    """A list, whom it is for (None: everybody), and whether it comes from memory for need."""

    found: Kept
    user: str | None
    degraded: bool


async def listing(service: Service, user: str) -> Listing:
    """Return a user's list; the one for unknown users where he has none, or Redis is away.

    Raises
    ------
    NothingYetError
        There is neither.
    StoreError
        Redis is away, and no list was read before that.
    """
    if user == DEFAULT_USER:
        return await trending(service)
    keys = [service.reader.keys.recs(name) for name in service.names(user)]
    try:
        raw = next(filter(None, await service.reader.get_many(keys)), None)
    except StoreError:
        if service.reader.default is None:
            raise
        return Listing(kept(service.reader.default), None, True)
    if raw is None:
        return await trending(service)
    return Listing(kept(raw), user, False)


async def trending(service: Service) -> Listing:
    """Return the list for unknown users, as it was ``serve.trending_s`` ago at most."""
    reader = service.reader
    raw, away = reader.default, reader.away is not None
    if raw is None:
        raw = await reader.get(reader.keys.recs(DEFAULT_USER))
    if raw is None:
        raise NothingYetError(
            "there are no recommendations in Redis yet",
            "publish events and run `rillet up`; `rillet doctor` says what is missing",
        )
    return Listing(kept(raw), None, away)


async def admitted(
    service: Service, items: Collection[str], exclude: Collection[str], where: Where | None
) -> set[str]:
    """Return those of the items that may be in an answer.

    Raises
    ------
    StoreError
        Redis, which knows the items, is away.
    """
    left = set(items).difference(exclude)
    if where is None or not left:
        return left
    names = sorted(left)
    cards = await service.reader.get_many([service.reader.keys.item(one) for one in names])
    return {
        one
        for one, raw in zip(names, cards, strict=True)
        if raw and (card := read_card(raw)) and where.admits(card)
    }


def json_answer(service: Service, body: bytes, *, degraded: bool) -> Response:
    """Return an answer of JSON, which says where it was made without Redis."""
    if degraded:
        service.figures.degraded.labels("redis").inc()
    headers = {DEGRADED: "redis"} if degraded else None
    return Response(body, headers=headers, media_type="application/json")
