"""A Redis that stalls, a user like a robot, and keys that must all end some day."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from benchmarks.swap.watch import resident
from rillet import Client
from stream.kafka import KafkaSink
from stream.records import Outgoing
from stream.settings import KafkaSettings, Settings
from stream.store import Store
from stream.topics import ensure_topics
from tests.faults.proxy import Proxy
from tests.integration.live import Rillet, Start, eventually, worked_off
from tests.integration.test_live import shop
from tests.stream.tally import contents

STALL_S = 14.0
"""More than twice the tests' session timeout: a consumer that does not poll would be out."""

BACKLOG, PAYLOAD = 7000, 10_000
MOST_MIB = 48.0
"""Less than the backlog's 67 MiB: it is not read into memory."""

PATIENCE_S = 60.0

KEPT = {"session", "recs", "item", "neighbours", "itemstate", "vector", "position", "changes"}
"""Kinds of keys that stay when all consumers have ended."""

CHILD = """
import logging, sys

import msgspec

from stream.kafka import KafkaSink, KafkaSource
from stream.loop import Loop, stop_on_signals
from stream.settings import BatchSettings, KafkaSettings, RedisSettings
from stream.store import Store
from tests.stream.tally import Tally

logging.basicConfig(level=logging.INFO)
options = msgspec.json.decode(sys.argv[1])
kafka = KafkaSettings(**options["kafka"])
store = Store(RedisSettings(**options["redis"]))
source = KafkaSource(kafka, [kafka.events], kafka.group)
loop = Loop(Tally(store, [kafka.events]), source, KafkaSink(kafka), store, BatchSettings())
loop.run(stop_on_signals())
"""


def publish(kafka: KafkaSettings, numbers: range, padding: int = 0) -> None:
    sink = KafkaSink(kafka)
    for n in numbers:
        sink.send(Outgoing(kafka.events, b" " * padding + b"%d" % n, b"user%d" % (n % 50)))
    sink.flush()
    sink.close()


def totals(store: Store) -> tuple[int, int]:
    states = [json.loads(raw) for raw in contents(store, "session").values()]
    return sum(one["count"] for one in states), sum(one["total"] for one in states)


def counted(store: Store, many: int, said: Path) -> None:
    """Wait until so many records are counted; in the end each was counted once."""
    deadline = time.monotonic() + PATIENCE_S
    while totals(store)[0] < many:
        assert time.monotonic() < deadline, said.read_text()
        time.sleep(0.1)
    assert totals(store) == (many, sum(range(many)))


def test_a_stalled_redis_costs_neither_membership_nor_memory_nor_records(
    kafka_settings: KafkaSettings, store: Store, tmp_path: Path
) -> None:
    ensure_topics(kafka_settings)
    publish(kafka_settings, range(500))
    place, said = urlsplit(store.settings.url.get_secret_value()), tmp_path / "said"
    with closing(Proxy(0, place.port or 6379)) as proxy, said.open("wb") as log:
        url = f"redis://127.0.0.1:{proxy.port}{place.path}"
        redis_settings = {"url": url, "prefix": store.settings.prefix, "timeout_s": 1}
        kafka = kafka_settings.model_dump(exclude_none=True)
        options = json.dumps({"kafka": kafka, "redis": redis_settings})
        process = subprocess.Popen([sys.executable, "-c", CHILD, options], stderr=log)
        counted(store, 500, said)
        before = resident(process.pid)
        proxy.stall()
        publish(kafka_settings, range(500, 500 + BACKLOG), PAYLOAD)
        time.sleep(STALL_S)
        grown = resident(process.pid) - before
        assert totals(store)[0] == 500
        proxy.flow()
        counted(store, 500 + BACKLOG, said)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert grown < MOST_MIB
    words = said.read_text()
    assert "is away" in words
    assert words.count("tally reads") == 1  # once, at its start: nobody took its share


def robot(settings: Settings, many: int) -> None:
    """Publish a robot's events, with two of a person among the last of them."""
    now = int(time.time() * 1000)
    with Client(settings) as client:
        for n in range(many):
            click = {"event": "interaction", "type": "click", "user": "robot", "item": f"i{n % 40}"}
            client.publish({**click, "timestamp": now + n // 100})
            if n in (many - 200, many - 100):
                client.publish({**click, "user": "person", "timestamp": now + n // 100})


def busy(rillet: Rillet) -> dict[str, int]:
    """Return who goes too fast by what ``rillet status`` says, with his events in a minute."""
    state = json.loads(rillet("status", "--json").stdout)
    return {user: n for one in state["processes"] for user, n in one["busy"].items()}


def lasting(url: str, prefix: str) -> tuple[list[str], set[str]]:
    """Return the keys without a time to live, and all kinds of keys there are."""
    client: Any = redis.Redis.from_url(url)
    with client:
        keys = list(client.scan_iter(match=f"{prefix}:*", count=1000))
        lives = [client.pttl(key) for key in keys]
    kinds = {key.decode().split(":")[2] for key in keys}
    return [key.decode() for key, life in zip(keys, lives, strict=True) if life == -1], kinds


def test_a_robot_is_told_a_person_beside_him_served_and_every_key_ends_some_day(
    rillet: Rillet, start: Start, settings: Settings, tmp_path: Path
) -> None:
    log = shop(tmp_path / "log.jsonl")
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    assert rillet("publish", str(log)).returncode == 0
    robot(settings, 3000)
    eventually(lambda: worked_off(rillet), up.said)
    with Client(settings) as client:
        assert client.recommend("person").user == "person"
        session = client.session("robot")
    assert session is not None
    assert session.events >= 3000
    # A process says how it is once a second, and may have committed since.
    eventually(lambda: busy(rillet) != {}, up.said)
    assert set(fast := busy(rillet)) == {"robot"}
    assert fast["robot"] > settings.limits.user_events_per_minute
    url, prefix = settings.redis.url.get_secret_value(), settings.redis.prefix
    left, running = lasting(url, prefix)
    assert left == []
    assert up.end() == 0, up.said()
    left, kinds = lasting(url, prefix)
    assert left == []
    assert kinds | running >= KEPT | {"learner", "models", "process"}


def test_every_key_of_a_replay_ends_some_day(
    rillet: Rillet, settings: Settings, tmp_path: Path
) -> None:
    url, prefix = settings.redis.url.get_secret_value(), settings.redis.prefix
    log = shop(tmp_path / "log.jsonl")
    done = rillet("replay", str(log), "--redis", url)
    assert done.returncode == 0, done.stderr
    left, kinds = lasting(url, prefix)
    assert left == []
    assert kinds >= KEPT | {"models"}
