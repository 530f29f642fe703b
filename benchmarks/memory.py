"""What a user and an item take in Redis, by kind of key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import redis

from stream.keys import SCHEMA
from stream.store import Store

__all__ = ["measure"]

SAMPLE: Final = 2000
"""Keys of a kind that are weighed; the others count with their mean."""

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
