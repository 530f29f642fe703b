"""Search and ranking while Redis is away: who is known counts as a stranger, and that is said."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx2
import pytest

from stream.settings import load_settings
from stream.store import Store
from tests.own_redis import OwnRedis
from tests.serving.conftest import NOWHERE, eventually, problem
from tests.serving.process import Serving

DEGRADED = "x-rillet-degraded"


@pytest.fixture
def away(own_redis: OwnRedis, store: Store, tmp_path: Path) -> Iterator[httpx2.Client]:
    """A client of the command, which has loaded the shop from a Redis of its own."""
    with closing(Store(load_settings(redis={"url": own_redis.url}).redis)) as mine:
        for key in store._redis.keys("*"):
            mine._redis.restore(key, max(store._redis.pttl(key), 0), store._redis.dump(key))
    variables = {"RILLET_KAFKA__BOOTSTRAP": NOWHERE, "RILLET_SERVE__KAFKA_S": "1"}
    process = Serving(
        own_redis.url, tmp_path / "serve.log", RILLET_SERVE__REDIS_S="0.4", **variables
    )
    with httpx2.Client(base_url=process.url, timeout=30) as client:
        eventually(lambda: bool(client.get("/ready").json()["search"]))
        yield client
    process.end()


def asked(client: httpx2.Client, path: str, **body: Any) -> tuple[Any, str | None]:
    """Return what is answered, and without which server."""
    answer = client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()["items"], answer.headers.get(DEGRADED)


def test_without_redis_who_is_known_counts_as_a_stranger_and_that_is_said(
    away: httpx2.Client, own_redis: OwnRedis, store: Store, known: str
) -> None:
    items = sorted(name for name, _ in store.scan("item"))[:40]
    kinds: list[tuple[str, dict[str, Any]]] = [
        ("/rank", {"items": items}),
        ("/recommend", {"items": items}),
        ("/recommend", {"query": "blue"}),
    ]
    strangers = [asked(away, path, **body, user="nobody")[0] for path, body in kinds]
    before = [asked(away, path, **body, user=known) for path, body in kinds]
    assert [without for _, without in before] == [None] * 3
    assert before[0][0] != strangers[0]
    own_redis.hang()
    began = time.perf_counter()
    found = [asked(away, path, **body, user=known) for path, body in kinds]
    assert time.perf_counter() - began < 5
    assert found == [(one, "redis") for one in strangers]
    where = {"query": "blue", "filter": {"price": {"min": 0}}}
    problem(away.post("/recommend", json=where), 503, "redis-away")
    assert asked(away, "/rank", items=items[:5], explain=True)[1] == "redis"
    everybodys = away.get("/trending").json()["items"]
    told = away.get("/trending?explain=true").json()["items"]
    assert all(one["words"] for one in told)  # with ids, as titles lie in Redis
    assert asked(away, "/recommend/similar", items=items[:1], user=known) == (everybodys, "redis")
    own_redis.go_on()
    eventually(lambda: asked(away, "/rank", items=items, user=known) == before[0])
