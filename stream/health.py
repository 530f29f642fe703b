"""How a Redis is: what ``doctor`` and ``status`` show of it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = ["Health", "health_of"]


class Health(NamedTuple):
    """How a Redis is; a cluster's masters together.

    Of several masters ``version`` is the oldest, ``ping_ms`` the slowest,
    ``policy`` one that evicts if there is any, and ``full`` that of the
    fullest (0 to 1; 0 without a limit).
    """

    version: str
    ping_ms: float
    keys: int
    used_bytes: int
    max_bytes: int
    policy: str
    servers: int = 1
    full: float = 0.0


def health_of(masters: Sequence[Any]) -> Health:
    """Ask each master, by its client of redis-py."""
    infos = [master.info() for master in masters]
    sizes, pings = [], []
    for master in masters:
        start = time.perf_counter()
        sizes.append(int(master.dbsize()))
        pings.append((time.perf_counter() - start) * 1000)
    policies = {str(info.get("maxmemory_policy", "")) for info in infos}
    used = [int(info["used_memory"]) for info in infos]
    most = [int(info.get("maxmemory", 0)) for info in infos]
    return Health(
        version=min((str(info["redis_version"]) for info in infos), key=_number),
        ping_ms=max(pings),
        keys=sum(sizes),
        used_bytes=sum(used),
        max_bytes=sum(most),
        policy=min(policies, key=lambda policy: policy == "noeviction"),
        servers=len(masters),
        full=max(u / m if m else 0.0 for u, m in zip(used, most, strict=True)),
    )


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())
