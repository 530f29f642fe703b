"""What a user and an item take in Redis, by kind of key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import numpy as np
import redis

from features.session import decode_session
from models.answer import decode_answer
from stream.keys import SCHEMA
from stream.store import Store

__all__ = ["measure", "typical"]

SAMPLE: Final = 2000
"""Keys of a kind that are weighed; the others count with their mean."""

TYPICAL: Final = range(18, 23)
"""Events of a typical user."""

FULL: Final = 50
"""Items of a full list."""

PER: Final = {
    **dict.fromkeys(("recs", "session"), "user"),
    **dict.fromkeys(("item", "vector", "neighbours", "itemstate"), "item"),
}
"""Whose keys they are; what is not named here there are only a few of."""


def measure(store: Store) -> dict[str, Any]:
    """Count the keys under the store's prefix and weigh a sample of each kind.

    The weights are those of ``MEMORY USAGE``: key, value and what Redis needs
    to keep them, but for the table of times to live.
    """
    client: Any = redis.Redis.from_url(store.url)
    with client:
        kinds = {kind: _weigh(client, keys) for kind, keys in _by_kind(client, store).items()}
    kinds = {kind: found for kind, found in kinds.items() if found["keys"]}
    users = kinds.get("session", {}).get("keys", 0)
    items = kinds.get("item", {}).get("keys", 0)
    return {
        "users": users,
        "items": items,
        "bytes_per_user": _each(kinds, "user", users),
        "bytes_per_item": _each(kinds, "item", items),
        "bytes": sum(found["bytes"] for found in kinds.values()),
        "kinds": kinds,
    }


def typical(store: Store) -> dict[str, float]:
    """Weigh the states and lists of users with about 20 events and a list of 50.

    Returns
    -------
    dict
        ``users``, the mean of their ``events``, bytes of their ``session`` and ``recs``, and
        of both together, ``bytes``; without any such user ``users`` is 0, and nothing else is.
    """
    held = ((user, decode_session(raw).events) for user, raw in store.scan("session"))
    some = dict(islice(((user, count) for user, count in held if count in TYPICAL), SAMPLE))
    raws = store.get_many([store.keys.recs(user) for user in some])
    full = {
        user: count
        for (user, count), raw in zip(some.items(), raws, strict=True)
        if raw and len(decode_answer(raw).items) == FULL
    }
    if not full:
        return {"users": 0}
    found = {"users": float(len(full)), "events": round(float(np.mean(list(full.values()))), 1)}
    client: Any = redis.Redis.from_url(store.url)
    with client:
        for kind, key in (("session", store.keys.session), ("recs", store.keys.recs)):
            found[kind] = _weigh(client, [key(user).encode() for user in full])["mean"]
    return found | {"bytes": round(found["session"] + found["recs"], 1)}


def _by_kind(client: Any, store: Store) -> dict[str, list[bytes]]:
    """Return all keys under the store's prefix by their kind, each once."""
    head = f"{store.settings.prefix}:{SCHEMA}:"
    found: defaultdict[str, set[bytes]] = defaultdict(set)
    for key in client.scan_iter(match=f"{head}*", count=1000):
        kind = key.removeprefix(head.encode()).partition(b":")[0]
        found[kind.decode()].add(key)
    return {kind: list(keys) for kind, keys in found.items()}


def _weigh(client: Any, keys: list[bytes]) -> dict[str, Any]:
    """Return how many keys there are, and what one takes."""
    pipe = client.pipeline(transaction=False)
    weights: list[int] = []
    for chunk in _chunks(keys[:SAMPLE]):  # a set has no order
        for key in chunk:
            pipe.memory_usage(key, samples=0)
        weights += [weight for weight in pipe.execute() if weight is not None]
    if not weights:
        return {"keys": 0, "bytes": 0}
    mean = float(np.mean(weights))
    count = len(keys) if len(keys) > SAMPLE else len(weights)
    return {
        "keys": count,
        "weighed": len(weights),
        "mean": round(mean, 1),
        "p50": float(np.percentile(weights, 50)),
        "p99": float(np.percentile(weights, 99)),
        "bytes": round(mean * count),
    }


def _chunks(keys: list[bytes]) -> Iterator[list[bytes]]:
    return (keys[first : first + 500] for first in range(0, len(keys), 500))


def _each(kinds: dict[str, dict[str, Any]], whose: str, count: int) -> float:
    total: int = sum(found["bytes"] for kind, found in kinds.items() if PER.get(kind) == whose)
    return round(total / max(1, count), 1)
