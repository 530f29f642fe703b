"""metarank's ``POST /rank/{model}`` and ``POST /recommend/{model}``, in metarank's shapes."""

from __future__ import annotations

import time
from typing import Annotated, Any

import msgspec
from fastapi import Path, Query, Request, Response

from rillet.serving.followers import followers
from rillet.serving.guarded import router_for
from rillet.serving.lists import brief
from rillet.serving.metarank import MetarankItems, RankingIn, SeedsIn
from rillet.serving.ranking import ordered
from rillet.serving.reading import admitted, json_answer, listing, trending
from rillet.serving.service import Service, service_of
from rillet.serving.where import Where
from stream.errors import StoreError

__all__ = ["router"]

router = router_for("read", "metarank")

Model = Annotated[str, Path(description="any name: there is one blend")]


@router.post("/rank/{model}", response_model=MetarankItems)
async def rank_event(
    request: Request,
    wish: RankingIn,
    model: Model,
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
    return _answered(service, began, items, degraded=found.degraded)


@router.post("/recommend/{model}", response_model=MetarankItems)
async def recommend_from(request: Request, wish: SeedsIn, model: Model) -> Response:
    """Recommend as metarank does: what users take after `items`, else the user's list.

    Without both it is what is trending; and where nobody knows yet what follows the items.
    """
    began = time.perf_counter()
    service = service_of(request)
    pairs: list[tuple[str, float]] = []
    degraded = False
    try:
        found = await followers(service, wish.items)
        among = await admitted(service, [item for item, _ in found], (), Where())
        pairs = [one for one in found if one[0] in among]
    except StoreError:
        degraded = True  # then it is what the list for everybody was
    if not pairs:
        kept, _, away = await (listing(service, wish.user) if wish.user else trending(service))
        pairs = [(one.item, one.score) for one in brief(kept) if one.item not in wish.items]
        degraded = degraded or away
    items = [{"item": item, "score": score} for item, score in pairs[: wish.count]]
    return _answered(service, began, items, degraded=degraded)


def _answered(
    service: Service, began: float, items: list[dict[str, Any]], *, degraded: bool
) -> Response:
    took = round((time.perf_counter() - began) * 1000)
    return json_answer(
        service, msgspec.json.encode({"took": took, "items": items}), degraded=degraded
    )
