"""What users take after items, as the neighbours' consumer has stored it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from rillet.serving.service import Service
from rillet.serving.stored import stored

__all__ = ["followers"]


class _Followers(msgspec.Struct):
    next: list[tuple[str, float]] = []


_FOLLOWERS: Final = msgspec.json.Decoder(_Followers)


async def followers(service: Service, items: Sequence[str]) -> list[tuple[str, float]]:
    """Return what follows any of the items, with the sum of its weights, strongest first.

    Raises
    ------
    StoreError
        Redis, which knows it, is away.
    """
    if not items:
        return []
    names = dict.fromkeys(items)
    raws = await service.reader.get_many([service.reader.keys.neighbours(one) for one in names])
    weights: dict[str, float] = {}
    for raw in filter(None, raws):
        for item, weight in stored(raw, _FOLLOWERS, "what follows the item").next:
            weights[item] = weights.get(item, 0.0) + weight
    left = [one for one in weights.items() if one[0] not in names]
    return sorted(left, key=lambda one: -one[1])
