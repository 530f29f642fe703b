"""``POST /recommend``: by a query, for a user, or what is trending."""

from __future__ import annotations

import msgspec
from fastapi import Request, Response

from rillet.serving.answer import Answer
from rillet.serving.guard import Caller
from rillet.serving.guarded import router_for
from rillet.serving.lists import brief
from rillet.serving.models import Recommended, RecommendIn
from rillet.serving.ranking import Asked, as_json, ordered, remember, searched
from rillet.serving.reading import admitted, json_answer, listing, trending
from rillet.serving.service import Service, service_of
from rillet.serving.told import list_answer

__all__ = ["router"]

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
        return await _search(service, wish, wish.query, request.state.caller)
    if wish.items is not None and service.can_rank and (wish.user or wish.session):
        return await _ranked(service, wish, wish.items)
    return await _listed(service, wish)


async def _listed(service: Service, wish: RecommendIn) -> Response:
    who = wish.user or wish.session
    listed = await (listing(service, who) if who else trending(service))
    among = None
    if wish.items is not None or wish.exclude or wish.filter:
        there = {one.item for one in brief(listed.found)}
        wished = there if wish.items is None else there.intersection(wish.items)
        among = await admitted(service, wished, wish.exclude, wish.where())
    return await list_answer(service, listed, wish.top_n, explain=wish.explain, among=among)


async def _search(service: Service, wish: RecommendIn, query: str, caller: Caller) -> Response:
    found = await searched(service, wish, query)
    remember(service, wish, query, caller)
    items = as_json(found, explain=wish.explain)
    answer = {"user": wish.user or wish.session, "origin": "search", "items": items}
    return json_answer(service, msgspec.json.encode(answer), degraded=found.degraded)


async def _ranked(service: Service, wish: RecommendIn, items: list[str]) -> Response:
    """Put the items that may be in the answer in the user's order."""
    among = await admitted(service, items, wish.exclude, wish.where())
    left = [one for one in items if one in among]
    asked = Asked(left, wish.user, wish.session, "", wish.explain)
    found = await ordered(service, asked) if left else Answer()
    shown = as_json(found[: wish.top_n], explain=wish.explain)
    answer = {"user": wish.user or wish.session, "origin": "rank", "items": shown}
    return json_answer(service, msgspec.json.encode(answer), degraded=found.degraded)
