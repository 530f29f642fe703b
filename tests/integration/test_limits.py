"""A Redis that stalls, a user like a robot, and keys that must all end some day."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from benchmarks.swap.watch import resident
from rillet import Client
from stream.events import Field, Interaction, Millis, encode
from stream.kafka import KafkaSink
from stream.records import Outgoing
from stream.settings import Settings
from tests.integration.live import ALL, Rillet, Start, eventually, verify, worked_off
from tests.integration.stalling import StallingProxy
from tests.integration.test_outage import two_halves

STALL_S = 14.0
"""More than twice the tests' session timeout: a consumer that does not poll would be out."""

BACKLOG, PAYLOAD = 8000, 9000
MOST_MIB = 48.0
"""Less than the backlog's 70 MiB: it is not read into memory."""


def backlog(settings: Settings) -> None:
    """Publish many large events."""
    now = int(time.time() * 1000)
    sink = KafkaSink(settings.kafka)
    note = [Field("note", os.urandom(PAYLOAD // 2).hex())]
    for n in range(BACKLOG):
        common: dict[str, Any] = {"timestamp": Millis(now), "item": "i1", "type": "view"}
        event = Interaction(user=f"large{n % 50}", fields=note, **common)
        sink.send(Outgoing(settings.kafka.events, encode(event), b"large%d" % (n % 50)))
    sink.flush()
    sink.close()


def test_a_stalled_redis_costs_neither_membership_nor_memory_nor_events(
    rillet: Rillet, start: Start, variables: dict[str, str], settings: Settings, tmp_path: Path
) -> None:
    place = urlsplit(settings.redis.url.get_secret_value())
    log, first, second = two_halves(tmp_path)
    assert rillet("init", "--topics").returncode == 0
    with StallingProxy(place.hostname or "", place.port or 6379) as proxy:
        others = [start("consume", "catalogue"), start("consume", "neighbours")]
        variables["RILLET_REDIS__URL"] = f"redis://127.0.0.1:{proxy.port}{place.path}"
        variables["RILLET_REDIS__TIMEOUT_S"] = "1"
        one = start("consume", "personalize")
        variables["RILLET_REDIS__URL"] = settings.redis.url.get_secret_value()
        assert rillet("publish", str(first)).returncode == 0
        eventually(lambda: worked_off(rillet), one.said)
        before = resident(one.process.pid)
        proxy.stall()
        assert rillet("publish", str(second)).returncode == 0
        backlog(settings)
        time.sleep(STALL_S)
        grown = resident(one.process.pid) - before
        proxy.flow()
        eventually(lambda: worked_off(rillet, ALL), one.said)
        assert [running.end() for running in (one, *others)] == [0, 0, 0], one.said()
    assert grown < MOST_MIB
    assert "is away" in one.said()
    assert one.said().count("personalize reads") == 1  # once, at its start: nobody took its share
    found = verify(rillet, log)
    assert found["session"]["missing"] == found["session"]["differing"] == []


def robot(settings: Settings, many: int) -> None:
    """Publish a robot's events, with two of a person among the last of them."""
    now = int(time.time() * 1000)
    with Client(settings) as client:
        for n in range(many):
            click = {"event": "interaction", "type": "click", "user": "robot", "item": f"i{n % 40}"}
            client.publish({**click, "timestamp": now + n // 100})
            if n in (many - 200, many - 100):
                client.publish({**click, "user": "person", "timestamp": now + n // 100})


def test_a_robot_is_told_and_a_person_beside_him_gets_his_list(
    rillet: Rillet, start: Start, settings: Settings
) -> None:
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    robot(settings, 6000)
    eventually(lambda: worked_off(rillet), up.said)
    with Client(settings) as client:
        assert client.recommend("person").user == "person"
        session = client.session("robot")
    assert session is not None
    assert session.events >= 6000
    state = json.loads(rillet("status", "--json").stdout)
    busy = {user: n for one in state["processes"] for user, n in one["busy"].items()}
    assert set(busy) == {"robot"}
    assert busy["robot"] > settings.limits.user_events_per_minute
    assert "robot" in rillet("status").stdout
    assert up.end() == 0, up.said()


def lasting(url: str, prefix: str) -> tuple[list[str], set[str]]:
    """Return the keys without a time to live, and all kinds of keys there are."""
    client: Any = redis.Redis.from_url(url)
    with client:
        keys = list(client.scan_iter(match=f"{prefix}:*", count=1000))
        lives = [client.pttl(key) for key in keys]
    kinds = {key.decode().split(":")[2] for key in keys}
    return [key.decode() for key, life in zip(keys, lives, strict=True) if life == -1], kinds


def test_every_key_ends_some_day(
    rillet: Rillet,
    start: Start,
    variables: dict[str, str],
    settings: Settings,
    tmp_path: Path,
) -> None:
    log, _, _ = two_halves(tmp_path)
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    assert rillet("publish", str(log)).returncode == 0
    eventually(lambda: worked_off(rillet), up.said)
    url, prefix = settings.redis.url.get_secret_value(), settings.redis.prefix
    left, running = lasting(url, prefix)
    assert left == []
    assert up.end() == 0, up.said()
    left, kinds = lasting(url, prefix)
    assert left == []
    kept = {"session", "recs", "item", "neighbours", "itemstate", "vector", "position", "changes"}
    assert kinds | running >= kept | {"learner", "models", "process"}
    variables["RILLET_REDIS__PREFIX"] = f"{prefix}-replayed"
    assert rillet("replay", str(log), "--redis", url).returncode == 0
    left, kinds = lasting(url, f"{prefix}-replayed")
    assert left == []
    assert kinds >= kept
