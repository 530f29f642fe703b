"""What it takes to read a list: a GET by redis-py, and by the program redis-benchmark."""

from __future__ import annotations

import csv
import io
import math
import random
import shutil
import subprocess
import time
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import numpy as np
import redis

from stream.errors import RilletError
from stream.keys import DEFAULT_USER
from stream.store import Store

__all__ = ["measure"]

PROGRAM: Final = "redis-benchmark"
CLIENTS: Final = (1, 50)

LEAST: Final = 5000
"""Requests of the program at least: it takes the time in whole milliseconds."""


def measure(store: Store, count: int) -> dict[str, Any]:
    """Read lists that lie in a store over one connection, one after the other, in any order.

    Returns
    -------
    dict
        ``redis_py``: microseconds of a GET, and of one whose JSON is decoded. By the number of
        its clients, ``redis_benchmark``; where it is not on the path, a line that says so.

    Raises
    ------
    RilletError
        There are no lists.
    """
    users = [user for user, _ in store.scan("recs") if user != DEFAULT_USER]
    if not users:
        raise RilletError("there are no lists to read", "take a longer warm-up")
    keys = random.Random(7).choices([store.keys.recs(user) for user in users], k=count)
    client: Any = redis.Redis.from_url(store.url)
    with client:
        plain, size = _timed(client, keys, decode=False)
        decoded, _ = _timed(client, keys, decode=True)
    found: dict[str, Any] = {"reads": count, "users": len(users), "mean_bytes": round(size, 1)}
    found["redis_py"] = {"get_us": plain, "get_and_decode_us": decoded}
    if shutil.which(PROGRAM) is None:
        return found | {"redis_benchmark": f"{PROGRAM} is not on the path: not measured"}
    requests = max(count, LEAST)
    rows = {str(clients): _program(store.url, keys[0], requests, clients) for clients in CLIENTS}
    return found | {"redis_benchmark": rows}


def _timed(client: Any, keys: Sequence[str], *, decode: bool) -> tuple[dict[str, float], float]:
    """Return percentiles in microseconds, and the mean size of a list."""
    took, size = [], 0
    for key in keys:
        begun = time.perf_counter()
        raw = client.get(key)
        if decode:
            msgspec.json.decode(raw)
        took.append(time.perf_counter() - begun)
        size += len(raw)
    p50, p99 = np.percentile(np.array(took) * 1e6, (50, 99))
    return {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}, size / len(keys)


def _program(url: str, key: str, count: int, clients: int) -> dict[str, float]:
    """Return what redis-benchmark says of a GET: requests a second, and microseconds."""
    where = urlsplit(url)
    server = ["-h", where.hostname or "127.0.0.1", "-p", str(where.port or 6379)]
    if where.scheme == "unix":
        server = ["-s", where.path]
    command = [PROGRAM, *server, "-n", str(count), "-c", str(clients), "--csv", "GET", key]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    if done.returncode or not rows or "rps" not in rows[0]:
        raise RilletError(f"{PROGRAM} failed: {done.stderr[-600:] or done.stdout[-600:]}")
    if not math.isfinite(float(rows[0]["rps"])):
        raise RilletError(f"{PROGRAM} saw no time pass", f"ask for more than {count} reads")
    return {
        "per_s": round(float(rows[0]["rps"])),
        "p50_us": round(float(rows[0]["p50_latency_ms"]) * 1e3, 1),
        "p99_us": round(float(rows[0]["p99_latency_ms"]) * 1e3, 1),
    }
