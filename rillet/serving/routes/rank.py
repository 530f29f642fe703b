"""``POST /rank``, and metarank's ``POST /rank/{model}``: items in a user's order."""

from __future__ import annotations

import time
from typing import Annotated

import msgspec
from fastapi import Path, Query, Request, Response

from rillet.serving.guarded import router_for
from rillet.serving.metarank import MetarankItems, RankingIn
from rillet.serving.models import RankedItems, RankIn
from rillet.serving.ranking import Asked, as_json, ordered
from rillet.serving.reading import json_answer
from rillet.serving.service import service_of

__all__ = ["router"]

router = router_for("read", "ranking")


@router.post("/rank", response_model=RankedItems)
async def rank(request: Request, wish: RankIn) -> Response:
    """Put items in the order in which a user would like them."""
    service = service_of(request)
    asked = Asked(wish.items, wish.user, wish.session, wish.query or "", wish.explain)
    found = await ordered(service, asked)
    body = msgspec.json.encode({"items": as_json(found, explain=wish.explain)})
    return json_answer(service, body, degraded=found.degraded)


@router.post("/rank/{model}", response_model=MetarankItems)
async def rank_event(
    request: Request,
    wish: RankingIn,
    model: Annotated[str, Path(description="any name: there is one blend")],
    explain: Annotated[bool, Query(description="what each feature adds to the score")] = False,
) -> Response:
    """Put the items of a ranking event in order, as metarank does.

    The field `query` of the event, where it has one, is what the items were found by. Nothing
    is recorded: publish the event by `/feedback` when it was shown.
    """
    began = time.perf_counter()
    service = service_of(request)
    found = await ordered(service, wish.asked(explain))
    items = [
        {"item": one.item, "score": one.score}
        | ({"features": [{"name": n, "value": v} for n, v in one.parts.items()]} if explain else {})
        for one in found
    ]
    took = round((time.perf_counter() - began) * 1000)
    body = msgspec.json.encode({"took": took, "items": items})
    return json_answer(service, body, degraded=found.degraded)
