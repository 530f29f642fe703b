"""Which trained model is the current one, told in Redis: running consumers see it at once.

The truth is the pointer in the registry; this only saves consumers from
looking there, maybe on another continent, every second. Where it is missing
they look at the registry.
"""

from __future__ import annotations

import logging

import msgspec
from msgspec import Struct

from stream.store import Store
from stream.writes import Plain

__all__ = ["Announced", "announce", "announced"]

log = logging.getLogger(__name__)


class Announced(Struct, frozen=True):
    """A version that became the current one: in which registry, and when (epoch ms)."""

    version: str
    registry: str
    at: int


def announce(store: Store, kind: str, news: Announced) -> None:
    """Tell the consumers at this Redis which model of a kind is the current one.

    Raises
    ------
    StoreError
        Redis cannot be reached.
    """
    store.write_plain([Plain(store.keys.model(kind), msgspec.json.encode(news), store.ttl_ms)])


def announced(store: Store, kind: str) -> Announced | None:
    """Return what was announced last of a kind; None where nothing readable was.

    Raises
    ------
    StoreError
        Redis cannot be reached.
    """
    raw = store.get(store.keys.model(kind))
    if raw is None:
        return None
    try:
        return msgspec.json.decode(raw, type=Announced)
    except msgspec.DecodeError as error:
        log.warning("%s is passed over: %s", store.keys.model(kind), error)
        return None
