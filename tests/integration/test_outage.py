"""What goes wrong around running consumers: a Redis that goes away, records that are nothing."""

from __future__ import annotations

import random
import time
from pathlib import Path

from rillet.simulate import World
from stream.events import BadRecord, Identify, decode
from stream.kafka import KafkaSink
from stream.log import read_log
from stream.records import Outgoing
from stream.settings import Settings
from stream.topics import group_lag
from tests.builders import write_log
from tests.integration.live import Rillet, Start, eventually, verify, worked_off
from tests.own_redis import OwnRedis

OUTAGE_S = 10.0


def two_halves(folder: Path) -> tuple[Path, Path, Path]:
    """Write a small shop's log whole, and cut in two."""
    world = World(seed=12, users=40, items=240, days=2)
    events = [event for event in world.events() if not isinstance(event, Identify)]
    half = len(events) // 2
    parts = (("whole", events), ("first", events[:half]), ("second", events[half:]))
    whole, first, second = (write_log(folder / f"{name}.jsonl", some) for name, some in parts)
    return whole, first, second


def test_a_redis_away_for_ten_seconds_stops_nothing_and_loses_nothing(
    rillet: Rillet,
    start: Start,
    variables: dict[str, str],
    own_redis: OwnRedis,
    tmp_path: Path,
) -> None:
    variables["RILLET_REDIS__URL"] = own_redis.url
    whole, first, second = two_halves(tmp_path)
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    assert rillet("publish", str(first)).returncode == 0
    eventually(lambda: "reads" in up.said(), up.said)
    own_redis.stop()
    assert rillet("publish", str(second)).returncode == 0
    time.sleep(OUTAGE_S)
    own_redis.start()
    eventually(lambda: worked_off(rillet), up.said)
    found = verify(rillet, whole)
    assert [one for one in found.values() if one["wrong"]] == []
    assert found["session"]["equal"] > 30
    assert up.end() == 0, up.said()
    assert "is away" in up.said()
    assert "starting it again" not in up.said()


def noise(seed: int, count: int) -> list[bytes]:
    """Return records of arbitrary bytes, and events with something cut off or changed."""
    chance = random.Random(seed)
    event = b'{"event":"interaction","timestamp":1,"user":"u","item":"i","type":"click"}'
    found = []
    for n in range(count):
        raw = bytearray(event)
        if n % 3 == 0:
            raw = bytearray(chance.randbytes(chance.randrange(200)))
        elif n % 3 == 1:
            del raw[chance.randrange(1, len(raw)) :]
        else:
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        if isinstance(decode(bytes(raw)), BadRecord):
            found.append(bytes(raw))
    return found


def test_no_bytes_on_any_topic_stop_a_consumer(
    rillet: Rillet, start: Start, settings: Settings, tmp_path: Path
) -> None:
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    topics, bad = settings.kafka, noise(5, 300)
    sink = KafkaSink(topics)
    for n, raw in enumerate(bad):
        for topic in (topics.events, topics.catalogue, topics.transitions):
            sink.send(Outgoing(topic, raw, key=b"%d" % n))
    sink.flush()
    sink.close()
    log, _, _ = two_halves(tmp_path)
    assert rillet("publish", str(log)).returncode == 0
    eventually(lambda: worked_off(rillet), up.said)
    letters = group_lag(topics, f"{topics.group}.nobody", [topics.deadletters])
    assert sum(one.lag for one in letters) == 3 * len(bad) > 600
    users = {getattr(decode(raw), "user", None) for _, raw in read_log(log)} - {None}
    found = verify(rillet, log)["session"]
    assert found["missing"] == found["extra"] == []
    assert found["keys"] >= len(users)
    assert up.end() == 0, up.said()
    assert "starting it again" not in up.said()
