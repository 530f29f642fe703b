"""Bodies of requests as records for Kafka: all of a request is checked before any of it is sent."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from rillet.serving.guard import Caller
from stream.errors import BadEventError, RefusedError
from stream.events import BadRecord, Delete, Event, Merge, decode
from stream.records import Outgoing
from stream.routing import outgoing
from stream.settings import Settings

__all__ = ["outgoing_of", "records_of"]

MEND: Final = "docs/events.md has all events, with examples"

AROUND: Final = 128
"""Bytes that Kafka's client and its brokers count around a record's key and value."""

MOST_TOLD: Final = 20
"""Faults that an answer names: who sends thousands of bad records learns nothing from the last."""

_MANY: Final = msgspec.json.Decoder(list[msgspec.Raw])


def records_of(body: bytes, caller: Caller, settings: Settings, now_ms: int) -> list[Outgoing]:
    """Return what a request's body is to Kafka.

    Parameters
    ----------
    body
        One event, or a list of them. One without a ``timestamp`` happened now.
    caller
        Who sends it.
    settings
        What is allowed of an event, and where it belongs.
    now_ms
        The time, epoch milliseconds.

    Raises
    ------
    BadEventError
        One of them is no event; the faults say which, and what is wrong.
    RefusedError
        The caller may not order to forget a user.
    """
    raws: Iterable[bytes] = [body]
    if body.lstrip()[:1] == b"[":
        try:
            raws = map(bytes, _MANY.decode(body))
        except (msgspec.MsgspecError, RecursionError) as error:
            raise RefusedError(400, "malformed", f"the body is no JSON: {error}") from error
    found = (_decoded(raw, settings, now_ms) for raw in raws)
    return outgoing_of(found, caller, settings, now_ms)


def outgoing_of(
    found: Iterable[tuple[bytes, Event | BadRecord]],
    caller: Caller,
    settings: Settings,
    now_ms: int,
) -> list[Outgoing]:
    """Return the records of several events with their bytes; see :func:`records_of`."""
    records, faults = [], []
    latest = now_ms + settings.batch.future_s * 1000
    for place, (raw, event) in enumerate(found):
        fault = _fault(event, latest)
        if fault:
            field, message = fault
            faults.append({"record": place, "field": field, "message": message})
        elif isinstance(event, Delete) and event.user is not None and "admin" not in caller.scopes:
            message = "to have a user forgotten needs a key with the scope admin"
            raise RefusedError(403, "wrong-scope", message)
        else:
            record = outgoing(raw, event, settings)
            if message := _too_long(record, settings.kafka.max_record_bytes):
                faults.append({"record": place, "field": "", "message": message})
            records.append(record)
    if faults:
        where = f"{faults[0]['field']}: " if faults[0]["field"] else ""
        first = f"record {faults[0]['record']} is no event: {where}{faults[0]['message']}"
        raise BadEventError(f"{first}; nothing was sent", MEND, faults[:MOST_TOLD])
    return records


def _fault(event: Event | BadRecord, latest: float) -> tuple[str, str] | None:
    """Return the field that is wrong, and what is wrong with it."""
    if isinstance(event, BadRecord):
        return event.field, event.message
    if isinstance(event, Merge):
        return "event", "`merge` is Rillet's own: publish `identify`"
    if event.timestamp > latest:
        return "timestamp", "too far ahead of the clock"
    return None


def _too_long(record: Outgoing, most: int) -> str:
    """Return what is wrong with a record that Kafka's client would refuse, "" with others."""
    size = len(record.value) + len(record.key or b"") + AROUND
    return f"{size} bytes with its key, {most} are allowed" if size > most else ""


def _decoded(raw: bytes, settings: Settings, now_ms: int) -> tuple[bytes, Event | BadRecord]:
    event = decode(raw, max_bytes=settings.batch.max_bytes)
    if isinstance(event, BadRecord) and event.field == "timestamp" and "missing" in event.message:
        try:
            raw = _dated(raw, now_ms)
        except msgspec.DecodeError as error:
            return raw, BadRecord("malformed", "", f"not JSON: {error}", raw)
        event = decode(raw, max_bytes=settings.batch.max_bytes)
    return raw, event


def _dated(raw: bytes, now_ms: int) -> bytes:
    """Return an event that happened now."""
    fields: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    return msgspec.json.encode(fields | {"timestamp": now_ms})
