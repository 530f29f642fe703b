"""gorse's requests in gorse's shapes: a user's list as ids, and feedback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Final
from urllib.parse import unquote

import msgspec
from fastapi import Header, Query, Request, Response

from rillet.serving.events import outgoing_of
from rillet.serving.gorse import EXAMPLE, FeedbackIn, RowAffected
from rillet.serving.guarded import router_for
from rillet.serving.lists import brief
from rillet.serving.paths import Count, Name, User
from rillet.serving.reading import admitted, json_answer, listing
from rillet.serving.service import Service, service_of
from rillet.serving.where import Where
from stream.events import BadRecord, Event, decode

__all__ = ["reading", "writing"]

reading = router_for("read", "gorse")
writing = router_for("write", "gorse")

ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"application/json": {"example": ["runner", "kilim"]}}}
}


Category = Annotated[str | None, Query(max_length=1000)]
Version = Annotated[str, Header(alias="X-API-Version")]


@reading.get(
    "/api/recommend/{user:id}/{category:id}",
    response_model=list[str] | list[dict[str, str | float]],
    responses=ANSWERS,
)
async def recommend_of(
    request: Request, user: User, category: Name, n: Count = 10, version: Version = ""
) -> Response:
    """Return the ids of a user's list that are of a category, as gorse does."""
    tail = request.scope["raw_path"].partition(b"/api/recommend/")[2].decode("ascii")
    whom, named, which = tail.partition("/")
    if not named:  # it is all the id of a user, which has a slash
        return await _recommended(service_of(request), f"{user}/{category}", n, None, version)
    return await _recommended(service_of(request), unquote(whom), n, unquote(which), version)


@reading.get(
    "/api/recommend/{user:id}",
    response_model=list[str] | list[dict[str, str | float]],
    responses=ANSWERS,
)
async def recommend(
    request: Request, user: User, n: Count = 10, category: Category = None, version: Version = ""
) -> Response:
    """Return the ids of a user's list, as gorse does; with `X-API-Version: 2` the scores too."""
    return await _recommended(service_of(request), user, n, category, version)


async def _recommended(
    service: Service, user: str, n: int, category: str | None, version: str
) -> Response:
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
