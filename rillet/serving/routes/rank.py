"""``POST /rank``: items in a user's order."""

from __future__ import annotations

import msgspec
from fastapi import Request, Response

from rillet.serving.guarded import router_for
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
