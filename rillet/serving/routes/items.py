"""What follows an item, and what is trending."""

from __future__ import annotations

import msgspec
from fastapi import Request, Response

from rillet.serving.followers import followers
from rillet.serving.guarded import router_for
from rillet.serving.models import Recommended, SimilarItems
from rillet.serving.paths import Count, Item
from rillet.serving.reading import json_answer, trending
from rillet.serving.service import service_of
from rillet.serving.told import list_answer

__all__ = ["router"]

router = router_for("read", "recommendations")


@router.get("/similar/{item:id}", response_model=SimilarItems)
async def similar(request: Request, item: Item, n: Count = 10) -> Response:
    """Return what users take after an item, strongest first; nothing where nobody knows."""
    service = service_of(request)
    found = await followers(service, [item])
    items = [{"item": one, "weight": weight} for one, weight in found[:n]]
    body = msgspec.json.encode({"item": item, "items": items})
    return json_answer(service, body, degraded=False)


@router.get("/trending", response_model=Recommended)
async def everybodys(request: Request, n: Count = 10, explain: bool = False) -> Response:
    """Return what everybody is shown of whom nothing is known, best first."""
    service = service_of(request)
    return await list_answer(service, await trending(service), n, explain=explain)
