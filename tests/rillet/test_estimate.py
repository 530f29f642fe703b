"""What `rillet estimate` predicts, beside what a Redis with such values takes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.memory import measure
from consumers.replay import Replay
from features.card import decode_card
from features.session import decode_session
from features.text import load_encoder
from models.answer import decode_answer
from models.item_state import decode_item_state
from rillet.estimate import Load, allocated, entry_bytes, estimate, table_bytes
from rillet.sample_values import Values, sample_values
from rillet.sizes import Shape, number_of, shape_of
from stream.errors import SettingsError
from stream.events import BadRecord, Event, decode
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain
from tests.builders import (
    DAY,
    NOON,
    forget,
    identify,
    interaction,
    item,
    ranking,
    search,
    withdraw,
    write_log,
)

SHAPE = Shape(users=1000, items=200)


@pytest.fixture(scope="module")
def values() -> Values:
    return sample_values(SHAPE, Settings(), many=60)


@pytest.fixture
def store() -> Iterator[Store]:
    one = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield one
    one.close()


def test_the_samples_are_what_the_engine_reads(values: Values) -> None:
    readers: dict[str, Any] = {
        **{"session": decode_session, "recs": decode_answer, "item": decode_card},
        "itemstate": decode_item_state,
    }
    for kind, reader in readers.items():
        for raw in values.by_kind[kind]:
            reader(raw)
    assert not any(isinstance(decode(raw), BadRecord) for raw in values.events)
    mean = sum(len(decode_session(raw).history.items) for raw in values.by_kind["session"]) / 60
    assert 0.75 * SHAPE.history < mean < 1.1 * SHAPE.history  # `session.history` cuts the longest


def test_the_same_shape_gives_the_same_estimate() -> None:
    first, second = (estimate(SHAPE, Load(per_s=10), Settings()) for _ in range(2))
    assert first == second


def test_what_a_redis_takes_is_within_a_tenth(values: Values, store: Store) -> None:
    before = store.health().used_bytes
    plain = [
        Plain(store.keys.recs(f"{n:012d}"), raw, DAY)
        for n in range(3000)
        for raw in [values.by_kind["recs"][n % 60]]
    ]
    store.write_plain(plain)
    real = store.health().used_bytes - before
    sizes = [entry_bytes(len(one.key), len(one.value or b"")) for one in plain]
    assert sum(sizes) + table_bytes(len(plain)) == pytest.approx(real, rel=0.1)
    weighed = measure(store)["kinds"]["recs"]
    assert weighed["keys"] == 3000


@pytest.mark.parametrize("size", [1, 8, 9, 16, 17, 128, 129, 1000, 5000, 10**6])
def test_an_allocator_gives_no_less_and_a_fourth_more_at_the_most(size: int) -> None:
    assert size <= allocated(size) <= max(16, math.ceil(size * 1.25) + 15)
    assert allocated(allocated(size)) == allocated(size)


def test_more_of_anything_takes_more() -> None:
    settings, load = Settings(), Load(per_s=100)
    base = estimate(SHAPE, load, settings)
    longer = settings.model_copy(
        update={"recommend": settings.recommend.model_copy(update={"length": 100})}
    )
    assert estimate(SHAPE, load, longer).per_user > 1.3 * base.per_user
    busy = estimate(Shape(1000, 200, history=60, lists=15), load, settings)
    assert busy.per_user > base.per_user
    assert busy.per_item > base.per_item
    twice = estimate(SHAPE, Load(per_s=200, replicas=3), settings)
    assert twice.kafka_bytes == pytest.approx(6 * base.kafka_bytes)
    assert twice.archive_bytes_a_day == pytest.approx(2 * base.archive_bytes_a_day)
    assert 0 < base.archive_bytes_a_day < base.kafka_bytes_a_day


def test_tombstones_outlive_the_states_they_stand_for() -> None:
    def kinds(gone: float, **settings: Any) -> dict[str, int]:
        shape = Shape(1000, 10, gone=gone)
        found = estimate(shape, Load(partitions=8), Settings.model_validate(settings))
        return {kind.name: kind.keys for kind in found.kinds}

    short = kinds(0.25, redis={"ttl_days": 100}, privacy={"tombstone_days": 40})
    assert (short["forgotten"], short["position"]) == (100, 24)
    long = kinds(0.25, redis={"ttl_days": 100, "url": "redis+cluster://a,b"})
    assert (long["forgotten"], long["position"]) == (1000, 24 * 33)
    assert kinds(0.0)["forgotten"] == 0


def test_a_log_tells_what_is_usual() -> None:
    events: list[Event] = [
        *(item(f"item{n}", title="t" * 30, description="d" * 200) for n in range(4)),
        *(interaction(f"item{n % 2}", NOON + n, "ann", id="abcd") for n in range(6)),
        interaction("item1", NOON + 2 * DAY, "robert", id="abcd"),
        ranking(["item1", "item2", "item3"], NOON + 5, "ann", id="abcd"),
        search("tea", NOON + 6, "ann"),
        identify("visitor", "ann", NOON + 7),
        forget("carol", NOON + 8),
        forget("carol", NOON + 9),
        withdraw("item3", NOON + 9),
    ]
    shape, size = shape_of(events, Shape(5000, 77))
    assert (shape.users, shape.items, shape.history, shape.lists) == (5000, 77, 3.5, 0.5)
    assert (shape.searches, shape.shown, shape.days) == (0.5, 3.0, 2.0)
    assert (shape.title_chars, shape.text_chars, shape.item_chars, shape.id_chars) == (
        30,
        200,
        5,
        4,
    )
    assert shape.gone == 1.0  # two of the two who did anything
    assert shape.repeats == pytest.approx(4 / 7)
    assert 60 < size < 120


@pytest.mark.parametrize("text", ["", "ten", "10Q", "-5", "1e6"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="no number"):
        number_of(text)


def test_the_command_prints_and_tells_scripts(command: Any, tmp_path: Path) -> None:
    done = command("estimate", "--users", "10M", "--items", "1M", "--rate", "500", "--json")
    found = json.loads(done.stdout)
    assert found["shape"]["users"] == 10_000_000
    assert found["redis_bytes"] > 10**10
    keys = {one["name"]: one["keys"] for one in found["kinds"]}
    assert (keys["session"], keys["item"]) == (10_000_000, 1_000_000)
    assert keys["forgotten"] == pytest.approx(10_000_000 * 0.1 * 400 / 90, abs=1)
    log = write_log(tmp_path / "log.jsonl", [interaction("a", NOON, "ann")])
    printed = command("estimate", "--users", "1k", "--items", "10", "--like", str(log))
    assert printed.returncode == 0, printed.stderr
    assert "1,000 users with 1 interactions" in " ".join(printed.stdout.split())
    wrong = command("estimate", "--users", "many")
    assert wrong.returncode == 2
    assert "mend:" in wrong.stderr


def test_every_kind_that_grows_and_a_replay_leaves_is_estimated(tmp_path: Path) -> None:
    settings = Settings.model_validate({"redis": {"url": "embedded:"}})
    named = {kind.name for kind in estimate(SHAPE, Load(per_s=10), settings).kinds}
    deeds = [interaction(f"i{n % 3}", NOON + n, "ann") for n in range(90)]
    gone = [forget("ann", NOON + 100)]
    items = [item(f"i{n}", title=f"thing {n}") for n in range(3)]
    log = write_log(tmp_path / "log.jsonl", [*items, *deeds, *gone])
    store = Store(settings.redis)
    try:
        Replay(settings, store, load_encoder(settings.encoder)).run(log)
        kinds = {key.decode().split(":")[2] for key in store._redis.scan_iter(match="*")}
    finally:
        store.close()
    assert {"session", "learner", "taught", "forgotten", "position"} <= kinds
    assert kinds <= named
