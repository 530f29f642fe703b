"""What is known of a user, and having him forgotten."""

from __future__ import annotations

from typing import Any, Final

import msgspec
from fastapi import Request, Response

from rillet.serving.guarded import router_for
from rillet.serving.models import Forgotten, SessionOut
from rillet.serving.paths import User
from rillet.serving.reading import json_answer
from rillet.serving.service import service_of
from rillet.serving.stored import stored
from stream.errors import RefusedError
from stream.events import Delete, Millis, encode
from stream.keys import DEFAULT_USER
from stream.routing import outgoing

__all__ = ["admin", "reading"]

reading = router_for("read", "users")
admin = router_for("admin", "users")


class _Count(msgspec.Struct):
    events: int = 0


_COUNT: Final = msgspec.json.Decoder(_Count)
_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


@reading.get("/session/{user:id}", response_model=SessionOut)
async def session(request: Request, user: User) -> Response:
    """Return what is known of a user: his state, as docs/redis.md says it lies in Redis."""
    service = service_of(request)
    keys = [service.reader.keys.session(name) for name in service.names(user)]
    raw = next(filter(None, await service.reader.get_many(keys)), None)
    # Of who was forgotten there may be a state in which there is nothing.
    if raw is None or not stored(raw, _COUNT, "the session").events:
        raise RefusedError(404, "unknown-user", "nothing is known of this user")
    fields: dict[str, Any] = stored(raw, _FIELDS, "the session")
    body = msgspec.json.encode(fields | {"user": user})
    return json_answer(service, body, degraded=False)


@admin.delete("/users/{user:id}", status_code=202)
async def forget(request: Request, user: User) -> Forgotten:
    """Order that a user be forgotten; answered when Kafka has the order.

    The consumers then drop his state and his list. `rillet forget` also rewrites the archive
    and the dead letters, and looks whether anything is left.
    """
    service = service_of(request)
    if user == DEFAULT_USER:
        raise RefusedError(422, "reserved", f"{DEFAULT_USER} is the name of nobody")
    now = Millis(service.now_ms())
    orders = [Delete(timestamp=now, user=name) for name in service.names(user)]
    records = [outgoing(encode(one), one, service.settings) for one in orders]
    await service.publisher.publish(records)
    return Forgotten(user=user)
