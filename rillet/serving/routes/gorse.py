"""gorse's requests in gorse's shapes: a user's list as ids, and feedback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final

import msgspec
from fastapi import Header, Query, Request, Response

from rillet.serving.events import outgoing_of
from rillet.serving.gorse import EXAMPLE, FeedbackIn, RowAffected
from rillet.serving.guarded import router_for
from rillet.serving.lists import brief
from rillet.serving.paths import Count, User
from rillet.serving.reading import admitted, json_answer, listing
from rillet.serving.service import service_of
from rillet.serving.where import Where
from stream.events import BadRecord, Event, decode

__all__ = ["reading", "writing"]

reading = router_for("read", "gorse")
writing = router_for("write", "gorse")

ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"example": ["runner", "kilim"]}}}
}


@reading.get(
    "/api/recommend/{user:id}",
    response_model=list[str] | list[dict[str, str | float]],
    responses=ANSWERS,
)
async def recommend(
    request: Request,
    user: User,
    n: Count = 10,
    category: Annotated[str | None, Query(max_length=1000)] = None,
    version: Annotated[str, Header(alias="X-API-Version")] = "",
) -> Response:
    """Return the ids of a user's list, as gorse does; with `X-API-Version: 2` the scores too."""
    service = service_of(request)
    found, _, degraded = await listing(service, user)
    items = brief(found)
    if category:
        among = await admitted(service, [one.item for one in items], (), Where(category))
        items = [one for one in items if one.item in among]
    if version == "2":
        body = msgspec.json.encode([{"Id": one.item, "Score": one.score} for one in items[:n]])
    else:
        body = msgspec.json.encode([one.item for one in items[:n]])
    return json_answer(service, body, degraded=degraded)


@writing.api_route("/api/feedback", methods=["POST", "PUT"], openapi_extra=EXAMPLE)
async def feedback(request: Request, given: list[FeedbackIn]) -> RowAffected:
    """Publish feedback as interactions; answered when Kafka has all of it."""
    service = service_of(request)
    now = service.now_ms()

    def events() -> Iterator[tuple[bytes, Event | BadRecord]]:
        for one in given:
            raw = one.event(now)
            yield raw, decode(raw, max_bytes=service.settings.batch.max_bytes)

    records = outgoing_of(events(), request.state.caller, service.settings, now)
    await service.publisher.publish(records)
    return RowAffected(RowAffected=len(records))
