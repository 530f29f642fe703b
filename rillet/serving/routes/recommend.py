"""``POST /recommend``: by a query, for a user, or what is trending."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from fastapi import Request, Response

from rillet.serving.guarded import router_for
from rillet.serving.lists import brief, recommended
from rillet.serving.models import Recommended, RecommendIn
from rillet.serving.reading import admitting, json_answer, listing, trending
from rillet.serving.searching import Found
from rillet.serving.service import Service, service_of

__all__ = ["ranked_items", "router"]

router = router_for("read", "recommendations")


@router.post("/recommend", response_model=Recommended)
async def recommend(request: Request, wish: RecommendIn) -> Response:
    """Recommend items: for a query, a user, or anybody.

    With a `query` it searches, and the user's taste and visit count; without one it is his list,
    or `items` in his order. Without both it is what is trending. Who is not known yet is shown
    what is trending; then `user` of the answer is null.
    """
    service = service_of(request)
    if wish.query is not None:
        return await _search(service, wish, wish.query)
    return await _listed(service, wish)


async def _listed(service: Service, wish: RecommendIn) -> Response:
    who = wish.user or wish.session
    found, user, degraded = await (listing(service, who) if who else trending(service))
    admits = None
    if wish.items is not None or wish.exclude or wish.filter:
        where = wish.filter.where() if wish.filter else None
        names = [one.item for one in brief(found)]
        admits = await admitting(service, names, wish.items, wish.exclude, where)
    body = recommended(found, user, wish.top_n, explain=wish.explain, admits=admits)
    return json_answer(service, body, degraded=degraded)


async def _search(service: Service, wish: RecommendIn, query: str) -> Response:
    found = await service.aside(
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
    answer = {
        "user": wish.user or wish.session,
        "origin": "search",
        "items": ranked_items(found, explain=wish.explain),
    }
    return json_answer(service, msgspec.json.encode(answer), degraded=False)


def ranked_items(found: Sequence[Found], *, explain: bool) -> list[dict[str, Any]]:
    """Return ranked items as they are answered."""
    if not explain:
        return [{"item": one.item, "score": one.score} for one in found]
    return [
        {
            "item": one.item,
            "score": one.score,
            "parts": one.parts,
            "reasons": one.reasons,
            "words": one.words,
        }
        for one in found
    ]
