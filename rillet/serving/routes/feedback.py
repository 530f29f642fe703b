"""``POST /feedback``: events to Kafka, in Rillet's own shape, which is metarank's and more."""

from __future__ import annotations

import time

from fastapi import Request

from rillet.serving.event_schema import EVENT_BODY
from rillet.serving.events import records_of
from rillet.serving.guarded import router_for
from rillet.serving.models import Accepted
from rillet.serving.service import service_of

__all__ = ["router"]

router = router_for("write", "events")


@router.post("/feedback", openapi_extra={"requestBody": EVENT_BODY})
async def feedback(request: Request) -> Accepted:
    """Publish an event, or a list of them.

    The answer comes when Kafka has all of them; where it has not (503), or one is no event
    (422), send all of them again. An event without `timestamp` happened now. Give each an
    `id`, so that what is sent again counts once.
    """
    began = time.perf_counter()
    service = service_of(request)
    body, caller = await request.body(), request.state.caller
    records = records_of(body, caller, service.settings, service.now_ms())
    await service.publisher.publish(records)
    took = round((time.perf_counter() - began) * 1000)
    return Accepted(accepted=len(records), tookMillis=took)
