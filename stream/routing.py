"""Which topic an event belongs on, and under which key: one rule for everyone who publishes."""

from __future__ import annotations

from stream.events import BadRecord, Delete, Event, Item, encode, partition_key
from stream.pseudonyms import pseudonyms_of
from stream.records import Outgoing
from stream.settings import Settings

__all__ = ["about_items", "outgoing"]


def about_items(event: Event) -> bool:
    """Tell whether an event changes the catalogue: an item, or the withdrawal of one."""
    return isinstance(event, Item) or (isinstance(event, Delete) and event.item is not None)


def outgoing(raw: bytes, event: Event | BadRecord, settings: Settings) -> Outgoing:
    """Return the record that an application publishes for this event.

    A bad record goes to the events topic as it is, where the consumer sets it aside.
    Where ``privacy.key`` is set, persons are named by pseudonyms from here on.

    Examples
    --------
    >>> from stream.events import decode
    >>> raw = b'{"event":"item","timestamp":0,"item":"i"}'
    >>> record = outgoing(raw, decode(raw), Settings())
    >>> record.topic, record.key
    ('rillet.catalogue', b'i')
    """
    if isinstance(event, BadRecord):
        return Outgoing(settings.kafka.events, raw)
    if settings.privacy.key is not None:
        mapped = pseudonyms_of(settings.privacy).event(event)
        if mapped is not event:
            raw, event = encode(mapped), mapped
    topic = settings.kafka.catalogue if about_items(event) else settings.kafka.events
    return Outgoing(topic, raw, key=partition_key(event).encode())
