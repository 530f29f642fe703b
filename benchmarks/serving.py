"""What the HTTP service can: a list, a hundred items ranked, a search, by one client and many."""

from __future__ import annotations

import http.client
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import numpy as np

from benchmarks.load import load, post
from benchmarks.place import Vectors, embedded, shelve, unshelve
from benchmarks.procfs import cpu_s, rss_mib
from benchmarks.workload import Workload
from consumers.replay import Replay
from features.text import load_encoder
from stream.errors import RilletError
from stream.events import Search, encode
from stream.keys import DEFAULT_USER
from stream.log import LogWriter
from stream.store import Store

__all__ = ["CLIENTS", "measure"]

Say = Callable[[str], None]

CLIENTS: Final = (1, 32)
RANKED: Final = 100
"""Items of a ranking: as many as metarank's figures are for."""

QUERIES: Final = 200
USERS: Final = 1000
LOADED_S: Final = 120.0


def measure(workload: Workload, seconds: float, known: Vectors, say: Say) -> dict[str, Any]:
    """Serve a shop that was replayed, and ask; clients and service are processes of their own.

    Parameters
    ----------
    workload
        The shop: its items and its warm-up are replayed.
    seconds
        How long each is asked.
    known
        Vectors of texts that were encoded before; new ones are added.
    say
        Is told what is going on.

    Returns
    -------
    dict
        By what was asked, and the number of clients: milliseconds (p50, p99), requests a second,
        and requests for each second of the service's processor time. No client pauses: with 32 of
        them most of the time is spent waiting for one's turn.
    """
    with embedded() as (settings, store):
        unshelve(store, known)
        say(f"serve: replaying {len(workload.warm):,} events")
        with tempfile.TemporaryDirectory(prefix="rillet-bench-") as folder:
            log = Path(folder) / "events.jsonl"
            with LogWriter(log) as writer:
                for event in (*workload.items, *workload.warm):
                    writer.write(encode(event))
            Replay(settings, store, load_encoder(settings.encoder)).run(log)
        shelve(store, known)
        asked = _requests(workload, store)
        with _service(store.url) as (process, port):
            rows = {
                name: _asked(name, requests, process.pid, port, seconds, say)
                for name, requests in asked.items()
            }
            memory = round(rss_mib(process.pid), 1)
    return {"items": len(workload.items), "rss_mib": memory, "asked": rows}


def _requests(workload: Workload, store: Store) -> dict[str, list[bytes]]:
    draw = random.Random(7)
    users = sorted(name for name, _ in store.scan("recs") if name != DEFAULT_USER)
    queries = sorted({e.query for e in workload.warm if isinstance(e, Search)})
    if not users or not queries:
        raise RilletError("nobody searched in this shop", "take a longer warm-up")
    items = [one.item for one in workload.items]
    bodies: dict[str, list[dict[str, Any]]] = {"recommend": [], "rank": [], "search": []}
    for _ in range(USERS):
        user = draw.choice(users)
        bodies["recommend"].append({"user": user, "top_n": 10, "explain": True})
        bodies["rank"].append({"user": user, "items": draw.sample(items, min(RANKED, len(items)))})
        query = draw.choice(queries[:QUERIES])
        bodies["search"].append({"user": user, "query": query, "top_n": 10})
    paths = {"recommend": "/recommend", "rank": "/rank", "search": "/recommend"}
    return {
        name: [post(paths[name], json.dumps(body).encode()) for body in some]
        for name, some in bodies.items()
    }


@contextmanager
def _service(redis: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Lend the service, as a process that has loaded everything."""
    command = [sys.executable, "-m", "rillet.cli.main", "serve", "--port", "0", "--json"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}
    unlimited = {"RILLET_SERVE__REQUESTS_PER_MINUTE": "0", "RILLET_REDIS__URL": redis}
    # Queries become events: where there is no Kafka they are counted, and that is all.
    nowhere = {"RILLET_KAFKA__BOOTSTRAP": "127.0.0.1:1", "RILLET_SERVE__KAFKA_S": "1"}
    process = subprocess.Popen(
        command,
        env=clean | unlimited | nowhere,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RilletError("the service did not start")
        port = int(urlsplit(json.loads(line)["url"]).port or 0)
        _wait(port)
        yield process, port
    finally:
        process.terminate()
        process.communicate()


def _wait(port: int) -> None:
    """Wait until search is loaded."""
    deadline = time.monotonic() + LOADED_S
    while time.monotonic() < deadline:
        line = http.client.HTTPConnection("127.0.0.1", port)
        line.request("GET", "/ready")
        found = json.loads(line.getresponse().read())
        line.close()
        if found["search"]:
            time.sleep(1.0)  # what it does once after loading is no part of an answer
            return
        time.sleep(0.2)
    raise RilletError(f"search was not loaded after {LOADED_S:.0f} s")


def _asked(
    name: str, requests: Sequence[bytes], pid: int, port: int, seconds: float, say: Say
) -> dict[str, Any]:
    rows = {}
    for clients in CLIENTS:
        say(f"serve: {name}, {clients} clients")
        before = cpu_s(pid)
        found = load(port, requests, clients, seconds)
        used = cpu_s(pid) - before
        if found.failed or not found.took_s:
            raise RilletError(f"{found.failed} of {len(found.took_s)} requests for {name} failed")
        p50, p99 = np.percentile(np.array(found.took_s) * 1000, (50, 99))
        rows[str(clients)] = {
            "requests": len(found.took_s),
            "p50_ms": round(float(p50), 2),
            "p99_ms": round(float(p99), 2),
            "per_s": round(len(found.took_s) / found.seconds, 1),
            "per_core_s": round(found.answered / max(used, 1e-9), 1),
        }
    return rows
