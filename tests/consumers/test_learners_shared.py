"""What personalize processes have of each other: lessons, and the models of one that left.

Each test runs several consumers on one Redis, as the processes of a group do
that own different partitions.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers import learners
from consumers.catalogue import CatalogueConsumer
from consumers.personalize import Personalize
from consumers.view import LiveView
from features.contexts import ask, meaning_of
from features.text import Encoder
from models.engine import Engine
from models.learner import Learner
from models.pairs import Pairs
from models.sharing import decode_told
from stream.clock import HandClock
from stream.events import Event, encode
from stream.records import Record, TopicPartition
from stream.settings import Settings
from stream.store import DAY_MS, Store
from stream.writes import Plain, Writes
from tests.builders import MINUTE, NOON, folded, interaction, search
from tests.consumers.small_log import CLUSTERS, a_visit, the_items

PARTITIONS = 2
_prefixes = itertools.count()
TOPICS = Settings().kafka
Start = Callable[[int], "Process"]


class Process:
    """A personalize consumer with one partition of the events topic at first."""

    def __init__(self, consumer: Personalize, store: Store, partition: int) -> None:
        self.consumer, self.engine, self._store = consumer, consumer.engine, store
        self.partition, self._read = partition, 0
        self.gain(partition)

    def gain(self, partition: int) -> None:
        self.consumer.assigned([TopicPartition(TOPICS.events, partition)])

    def lose(self, partition: int) -> None:
        self.consumer.revoked([TopicPartition(TOPICS.events, partition)])

    def read(self, events: Sequence[Event]) -> None:
        """Handle the next batch of its partition, and write what comes of it."""
        records = [
            Record(TOPICS.events, self.partition, offset, None, encode(event))
            for offset, event in enumerate(events, self._read)
        ]
        self._read += len(records)
        self._store.write(self.consumer.handle(records))

    def end(self) -> None:
        """Write what a process writes when it is told to stop."""
        writes = Writes()
        self.consumer.learners.checkpoint(writes, models=True)
        self._store.write(writes)

    def added(self, name: str) -> NDArray[np.float64]:
        """Return what its own partition has added to a head's weights, (G, F)."""
        return effective(self.engine, name, self.consumer.learners.held[self.partition])


def effective(engine: Engine, name: str, learner: Learner) -> NDArray[np.float64]:
    """Return a partition's part of a head, segment by segment, from its checkpoint."""
    part = learner.heads[name].state()
    head = engine.new_heads()[name]
    assert part.moved
    assert part.examples > 0
    shared = np.array([part.weights.get(n, 0.0) for n in head.names])
    own = [[part.weights.get(f"{g}|{n}", 0.0) for n in head.names] for g in range(head.segments)]
    return np.asarray(shared + np.array(own), dtype=np.float64)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every batch hear of the others."""
    monkeypatch.setattr(learners, "HEAR_EVERY_S", 0.0)


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store
    store.close()


@pytest.fixture
def settings(server: Store) -> Settings:
    redis = {"url": server.url, "prefix": f"shared{next(_prefixes)}"}
    return Settings.model_validate({"redis": redis, "blend": {"sample": 1.0, "share": 1}})


@pytest.fixture
def store(settings: Settings, encoder: Encoder) -> Iterator[Store]:
    store = Store(settings.redis)
    items = [
        Record(TOPICS.catalogue, 0, at, None, encode(event)) for at, event in enumerate(the_items())
    ]
    store.write(CatalogueConsumer(settings, store, encoder).handle(items))
    yield store
    store.close()


@pytest.fixture
def start(settings: Settings, store: Store, encoder: Encoder) -> Start:
    """Start a process that has just been given a partition."""

    return lambda partition: begun(settings, store, encoder, partition)


def begun(settings: Settings, store: Store, encoder: Encoder, partition: int) -> Process:
    """Return a process of these settings that has just been given a partition."""
    view = LiveView(
        settings, store, encoder, transition_partitions=1, event_partitions=PARTITIONS, every_ms=0
    )
    consumer = Personalize(settings, store, view, clock=HandClock(NOON + 10**9))
    return Process(consumer, store, partition)


def visits(cluster: str, count: int) -> list[Event]:
    """Return visits of a few users to one half of the shop."""
    chance, events = random.Random(3), list[Event]()
    for n in range(count):
        events += a_visit(f"{cluster}{n % 3}", NOON + n * MINUTE * 4, cluster, chance)
    return events


def look_round(*processes: Process) -> None:
    """Let each read a batch that teaches nothing."""
    for process in processes:
        process.read([search("tea", NOON, user="somebody")])


def total(*processes: Process) -> dict[str, NDArray[np.float64]]:
    """Return the prior weights and what all partitions have added, computed in another way."""
    found = {}
    for name, head in processes[0].engine.new_heads().items():
        added = [one.added(name) for one in processes]
        assert not np.allclose(added[0], added[-1], atol=1e-3) or len(added) == 1
        found[name] = head.matrix() + sum(added)
    return found


def scores(engine: Engine) -> tuple[NDArray[np.float64], NDArray[np.float32], int]:
    """Return the scores of all items for who took one, their features, and his segment."""
    catalogue = engine.world.catalogue
    somebody = folded([interaction("k0", NOON)])
    (chunk,) = engine.look([ask(somebody, NOON, catalogue, meaning_of(engine.settings))])
    rows = catalogue.rows_of(sum(CLUSTERS.values(), [])).astype(np.int32)
    pairs = Pairs(np.zeros(len(rows), np.int32), rows)
    found, x = engine.score(chunk, chunk.retrieval.see(pairs))
    return found, x, int(chunk.segment[0])


def test_processes_score_with_what_all_partitions_have_taught(start: Start) -> None:
    one, other = start(0), start(1)
    one.read(visits("kitchen", 12))
    other.read(visits("cycling", 5))
    look_round(one, other)
    expected = total(one, other)
    for process in (one, other):
        for name, weights in expected.items():
            assert process.engine.weights[name] == pytest.approx(weights, abs=1e-12)
        found, x, segment = scores(process.engine)
        assert found == pytest.approx(x.astype(np.float64) @ expected["next"][segment])
        assert np.ptp(found) > 0.01


def test_a_process_goes_on_learning_from_the_weights_it_finds_of_the_others(start: Start) -> None:
    start(0).read(visits("kitchen", 12))
    late = start(1)
    look_round(late)
    found = late.engine.weights["next"]
    assert found == pytest.approx(total(start(0))["next"], abs=1e-12)
    assert np.abs(found - late.engine.new_heads()["next"].matrix()).max() > 0.01
    late.read(visits("cycling", 5))
    look_round(late)
    alone = late.engine.new_heads()["next"].matrix() + late.added("next")
    assert not np.allclose(late.engine.weights["next"], alone, atol=1e-3)


def test_steps_are_as_small_as_if_one_process_had_learned_everything(start: Start) -> None:
    early, late = start(0), start(1)
    late.read(visits("kitchen", 1))
    first = np.abs(late.added("next")).max()
    early.read(visits("kitchen", 40))
    look_round(late)
    before = late.added("next")
    late.read(visits("kitchen", 1))
    assert np.abs(late.added("next") - before).max() < first / 2


def test_what_the_others_learn_later_is_heard_after_a_while(start: Start) -> None:
    one, other = start(0), start(1)
    one.read(visits("kitchen", 12))
    look_round(one)
    other.read(visits("cycling", 5))
    before = one.engine.weights["next"]
    one.consumer.learners.hear_every_s = 3600.0
    look_round(one)
    assert np.array_equal(one.engine.weights["next"], before)
    one.consumer.learners.hear_every_s = 0.0
    look_round(one)
    assert one.engine.weights["next"] == pytest.approx(total(one, other)["next"], abs=1e-12)


def test_others_are_heard_after_a_few_examples_without_a_clock(start: Start) -> None:
    one, other = start(0), start(1)
    one.consumer.learners.hear_every_s = math.inf
    look_round(one)
    other.read(visits("cycling", 5))
    one.read(visits("kitchen", 2))
    look_round(one)
    assert one.engine.weights["next"] == pytest.approx(total(one, other)["next"], abs=1e-12)


def test_a_partition_that_was_gained_counts_once(start: Start) -> None:
    one, other = start(0), start(1)
    one.read(visits("kitchen", 12))
    other.read(visits("cycling", 5))
    look_round(one, other)
    expected = total(one, other)
    other.lose(1)
    one.gain(1)
    look_round(one)
    assert sorted(one.consumer.learners.held) == [0, 1]
    assert one.engine.weights["next"] == pytest.approx(expected["next"], abs=1e-12)


def test_after_a_crash_nothing_counts_twice(start: Start, store: Store) -> None:
    """What Redis refused is gone from memory, though it was learned; told again it counts once."""
    one, other = start(0), start(1)
    other.read(visits("cycling", 5))
    one.read(visits("kitchen", 6))
    look_round(one, other)
    expected, version = total(one, other), one.consumer.learners.version
    lost = [
        Record(TOPICS.events, 0, 10_000 + n, None, encode(event))
        for n, event in enumerate(visits("kitchen", 3))
    ]
    one.consumer.handle(lost)  # and its writes never arrive
    one.lose(0)
    one.gain(0)
    look_round(one)
    assert one.engine.weights["next"] == pytest.approx(expected["next"], abs=1e-12)
    assert one.consumer.learners.version == version
    again = start(0)
    look_round(again)
    assert again.consumer.learners.version == version
    assert again.engine.weights["next"] == pytest.approx(expected["next"], abs=1e-12)


def test_what_is_told_is_bounded_lives_for_a_while_and_names_nobody(
    start: Start, store: Store, settings: Settings
) -> None:
    one = start(0)
    one.read(visits("kitchen", 6))
    key = store.keys.taught(0)
    raw = store.get(key)
    assert raw is not None
    told = decode_told(raw)
    assert told.heads["next"] == one.consumer.learners.held[0].heads["next"].state()
    assert len(raw) < 100_000
    assert b"kitchen" not in raw
    assert 0 < store._redis.pttl(key) <= store.ttl_ms


def test_a_few_examples_are_not_told_at_once(
    settings: Settings, store: Store, encoder: Encoder
) -> None:
    blend = settings.blend.model_copy(update={"share": 1000})
    one = begun(settings.model_copy(update={"blend": blend}), store, encoder, 0)
    one.read(visits("kitchen", 6))
    assert store.get(store.keys.taught(0)) is None
    one.end()
    assert store.get(store.keys.taught(0)) is not None


def test_without_sharing_nothing_is_told_and_nothing_heard(
    settings: Settings, store: Store, start: Start, encoder: Encoder
) -> None:
    other = start(1)
    other.read(visits("cycling", 5))
    blend = settings.blend.model_copy(update={"share": 0})
    one = begun(settings.model_copy(update={"blend": blend}), store, encoder, 0)
    one.read(visits("kitchen", 6))
    look_round(one)
    one.end()
    assert store.get(store.keys.taught(0)) is None
    assert one.engine.weights["next"] == pytest.approx(total(one)["next"], abs=1e-12)


@pytest.mark.parametrize("raw", [b"{", b'{"as_of":{"partition":1,"offset":1,"event_time":0}}'])
def test_what_cannot_be_read_is_left_out(
    start: Start, store: Store, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    one = start(0)
    one.read(visits("kitchen", 6))
    store.write_plain([Plain(store.keys.taught(1), raw, DAY_MS)])
    look_round(one)
    assert "partition 1" in caplog.text
    assert one.engine.weights["next"] == pytest.approx(total(one)["next"], abs=1e-12)


def test_a_process_takes_over_the_models_of_a_more_experienced_one(
    start: Start, store: Store
) -> None:
    young, old = start(0), start(1)
    young.read(visits("kitchen", 3))
    old.read(visits("cycling", 12))
    old.end()
    assert 0 < young.engine.learned < old.engine.learned
    own = young.engine.state()
    old.lose(1)
    young.gain(1)
    raw = store.get(store.keys.models(1))
    assert raw is not None
    heir = Engine(young.engine.settings, young.engine.world)
    heir.restore(raw)
    assert young.engine.learned == old.engine.learned
    assert young.engine.state() == heir.state() != own


def test_a_process_keeps_its_own_models_where_they_know_more(start: Start, store: Store) -> None:
    young, old = start(0), start(1)
    young.read(visits("kitchen", 3))
    young.end()
    old.read(visits("cycling", 12))
    assert 0 < young.engine.learned < old.engine.learned
    assert store.get(store.keys.models(0)) is not None
    own, learned = old.engine.state(), old.engine.learned
    young.lose(0)
    old.gain(0)
    assert old.engine.learned == learned
    assert old.engine.state() == own


def test_sources_of_other_settings_do_not_hide_the_ones_that_fit(
    start: Start, store: Store, settings: Settings, encoder: Encoder
) -> None:
    mine = start(0)
    mine.read(visits("kitchen", 5))
    mine.end()
    fewer = Settings.model_validate(
        {"redis": settings.redis.model_dump(), "sources": {"enabled": ["repeat"]}}
    )
    view = LiveView(fewer, store, encoder, transition_partitions=1, event_partitions=PARTITIONS)
    longer = Process(Personalize(fewer, store, view, clock=HandClock(NOON + 10**9)), store, 1)
    longer.read(visits("cycling", 12))
    longer.end()
    assert longer.engine.learned > mine.engine.learned
    assert start(0).engine.learned == mine.engine.learned > 0
