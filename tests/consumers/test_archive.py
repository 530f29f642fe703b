from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.archive import Archive
from stream.archive.upkeep import compact
from stream.archive.writer import ArchiveWriter
from stream.clock import HandClock
from stream.errors import CheckpointError, FolderError, SettingsError
from stream.events import BadRecord, Event, Merge, decode, encode
from stream.memory import MemoryBroker, MemorySource
from stream.metrics import Pulse
from stream.records import Outgoing, Record, TopicPartition
from stream.routing import about_items, outgoing
from stream.settings import Settings, load_settings
from stream.store import Store
from tests.builders import DAY, HOUR, NOON, forget, interaction, item, merge, profile, withdraw
from tests.consumers.small_log import FORGOTTEN, Result, Run, the_log
from tests.stream.archives import archived, events_of, logged
from tests.stream.killed import Killed, deaths, mortal

GROUP = "rillet.archive"
TOPICS = {"rillet.events": 3, "rillet.catalogue": 2}
CLOCK = HandClock(NOON + 100 * DAY)


def some_settings(url: object, **archive: Any) -> Settings:
    chosen = {"url": str(url), "retry_s": 0, "max_s": 1e9} | archive
    return load_settings(archive=chosen, batch={"max_records": 7, "wait_ms": 1})


def a_broker(events: Sequence[Event] = ()) -> MemoryBroker:
    broker = MemoryBroker(TOPICS)
    publish(broker, events)
    return broker


def publish(broker: MemoryBroker, events: Sequence[Event]) -> None:
    for event in events:
        raw = encode(event)
        broker.sink().send(outgoing(raw, event, Settings()))


def a_member(
    broker: MemoryBroker,
    chosen: Settings,
    kind: type[MemorySource] | None = None,
    store: Store | None = None,
) -> Archive:
    source = broker.source(GROUP, Archive.topics(chosen), kind)
    return Archive(chosen, source, store, CLOCK)


def drain(member: Archive) -> None:
    while member.step(wait_ms=0):
        pass


def everything(broker: MemoryBroker) -> list[tuple[str, int, int, bytes]]:
    return sorted(
        (one.topic, one.partition, one.offset, one.value)
        for topic in TOPICS
        for one in broker.records(topic)
    )


def mixed(many: int, seed: int = 1) -> list[Event]:
    """Return items and events that lie in one another."""
    items = [item(f"i{n}", NOON + n * HOUR, title=f"item {n}") for n in range(many // 4)]
    return [*items, *events_of(many - len(items), seed=seed), withdraw("i1", NOON + DAY)]


def test_both_topics_are_archived_as_they_were_published(tmp_path: Path) -> None:
    broker = a_broker(mixed(200))
    member = a_member(broker, some_settings(tmp_path))
    drain(member)
    assert archived_or_none(tmp_path) is None  # nothing is due yet
    member.flush()
    assert archived(str(tmp_path)) == everything(broker)
    assert broker.waiting(GROUP) == 0
    assert member.events == 201


def archived_or_none(path: Path) -> Any:
    return archived(str(path)) if (path / "_spans").exists() else None


def test_files_are_cut_by_rows(tmp_path: Path) -> None:
    broker = a_broker(mixed(400))
    drain(a_member(broker, some_settings(tmp_path, max_rows=50)))
    found = archived(str(tmp_path))
    assert 0 < len(found) < 401
    assert broker.waiting(GROUP) == 401 - len(found)


def test_files_are_cut_by_time(tmp_path: Path) -> None:
    broker = a_broker(mixed(40))
    drain(a_member(broker, some_settings(tmp_path, max_s=1e-6)))
    assert archived(str(tmp_path)) == everything(broker)


def test_the_largest_is_written_where_too_much_is_in_hand(tmp_path: Path) -> None:
    broker = a_broker(events_of(300))
    member = a_member(broker, some_settings(tmp_path, max_mb=0.01))
    most = 0
    while member.step(wait_ms=0):
        most = max(most, sum(held.bytes for held in member._held.values()))
    assert most <= 10_000
    assert archived(str(tmp_path))


def test_what_others_set_aside_is_left_out(tmp_path: Path) -> None:
    good: list[Event] = [interaction("i", NOON), profile(NOON, "u", age=3.0), forget("x", NOON)]
    broker = a_broker(good)
    sink = broker.sink()
    state = b"{}"
    for topic, raw in [
        ("rillet.events", b"no event"),
        ("rillet.events", b""),
        ("rillet.events", encode(item("misplaced", NOON))),
        ("rillet.catalogue", encode(interaction("misplaced", NOON))),
        ("rillet.events", encode(interaction("future", CLOCK.now_ms() + 2 * HOUR))),
        ("rillet.events", encode(merge("visitor", state))),
        ("rillet.events", b'{"event":"search","timestamp":1,"user":"' + b"x" * 2_000_000 + b'"}'),
    ]:
        sink.send(Outgoing(topic, raw, b"u"))
    publish(broker, [interaction("last", NOON)])
    member = a_member(broker, some_settings(tmp_path))
    drain(member)
    member.flush()
    expected = sorted(encode(event) for event in [*good, interaction("last", NOON)])
    assert sorted(key[-1] for key in archived(str(tmp_path))) == expected
    assert broker.waiting(GROUP) == 0
    assert broker.records("rillet.deadletters") == []
    # What was left out is passed over for good.
    member.close()
    again = a_member(broker, some_settings(tmp_path))
    assert again.step(wait_ms=0) == 0


def test_a_member_that_dies_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    events = [*mixed(8)[:2], *events_of(16, days=2)]
    died = 0
    for n, run in enumerate(deaths()):
        broker = MemoryBroker({"rillet.events": 1, "rillet.catalogue": 1})
        publish(broker, events)
        url = mortal(tmp_path / str(n))

        def work(broker: MemoryBroker = broker, url: str = url) -> None:
            member = a_member(broker, some_settings(url, max_rows=9))
            drain(member)
            member.flush()

        died += run(work)
        bury(broker)
        second = a_member(broker, some_settings(url, max_rows=8))
        drain(second)
        second.flush()
        assert archived(url) == everything(broker)
        assert broker.waiting(GROUP) == 0
    assert died > 20


def bury(broker: MemoryBroker) -> None:
    """Let the group notice that its members are dead."""
    for member in list(broker._groups[GROUP].members):
        member.close()


class DiesBeforeCommit(MemorySource):
    def commit(self, positions: Any) -> bool:
        if any(positions.values()):
            raise Killed
        return super().commit(positions)


def test_the_archive_knows_where_it_is_though_kafka_does_not(tmp_path: Path) -> None:
    broker = a_broker(mixed(80))
    first = a_member(broker, some_settings(tmp_path, max_rows=10), DiesBeforeCommit)
    with pytest.raises(Killed):
        drain(first)
    bury(broker)
    before = archived(str(tmp_path))
    second = a_member(broker, some_settings(tmp_path))
    second.step(wait_ms=0)
    starts = {place: held.start for place, held in second._held.items()}
    for topic, partition, offset, _ in before:
        assert starts[TopicPartition(topic, partition)] > offset
    drain(second)
    second.flush()
    assert archived(str(tmp_path)) == everything(broker)


class Zombie(MemorySource):
    """Does not notice that it lost its partitions."""

    asleep = False

    def poll(self, max_records: int, wait_ms: int) -> list[Record]:
        if self.asleep:
            return []
        return super().poll(max_records, wait_ms)

    def commit(self, positions: Any) -> bool:
        return False if self.asleep else super().commit(positions)


@pytest.mark.parametrize("zombie_first", [True, False])
def test_two_owners_whose_spans_overlap_double_nothing(tmp_path: Path, zombie_first: bool) -> None:
    broker = a_broker(mixed(60))
    chosen = some_settings(tmp_path)
    zombie = a_member(broker, chosen, Zombie)
    drain(zombie)
    assert isinstance(zombie.source, Zombie)
    zombie.source.asleep = True
    bury(broker)
    publish(broker, mixed(40, seed=2))
    second = a_member(broker, chosen)
    drain(second)
    for member in (zombie, second) if zombie_first else (second, zombie):
        member.flush()
    assert archived(str(tmp_path)) == everything(broker)
    compact(str(tmp_path))
    assert archived(str(tmp_path)) == everything(broker)


def test_partitions_that_move_are_archived_once(tmp_path: Path) -> None:
    broker = a_broker(mixed(100))
    chosen = some_settings(tmp_path, max_rows=6)
    first = a_member(broker, chosen)
    for _ in range(4):
        first.step(wait_ms=0)
    second = a_member(broker, chosen)
    publish(broker, mixed(100, seed=3))
    for _ in range(12):
        first.step(wait_ms=0)
        second.step(wait_ms=0)
    assert len(first._held) + len(second._held) == 5
    assert first._held and second._held
    second.close()  # without a flush: what it has in hand comes again
    drain(first)
    first.flush()
    assert archived(str(tmp_path)) == everything(broker)
    assert broker.waiting(GROUP) == 0


class AmidRebalance(MemorySource):
    refusals = 3

    def commit(self, positions: Any) -> bool:
        self.refusals -= 1
        return super().commit(positions) if self.refusals < 0 else False


def test_a_refused_commit_is_made_up_for(tmp_path: Path) -> None:
    broker = a_broker(mixed(60))
    member = a_member(broker, some_settings(tmp_path, max_rows=5), AmidRebalance)
    drain(member)
    member.flush()
    assert archived(str(tmp_path)) == everything(broker)
    assert broker.waiting(GROUP) == 0


def test_a_topic_made_anew_is_refused(tmp_path: Path) -> None:
    chosen = some_settings(tmp_path)
    member = a_member(a_broker(mixed(60)), chosen)
    drain(member)
    member.flush()
    with pytest.raises(CheckpointError, match="created anew") as caught:
        a_member(a_broker(), chosen).step(wait_ms=0)
    assert "archive.url" in caught.value.mend


def test_records_that_kafka_lost_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = MemoryBroker({"rillet.events": 1, "rillet.catalogue": 1})
    publish(broker, events_of(10))
    chosen = some_settings(tmp_path)
    ArchiveWriter(str(tmp_path)).write(TopicPartition("rillet.events", 0), 0, 2, [])
    log = broker._logs["rillet.events"][0]
    del log.records[:5]
    log.base = 5
    member = a_member(broker, chosen)
    drain(member)
    member.flush()
    assert "2 to 4 were deleted before" in caplog.text
    assert [key[2] for key in archived(str(tmp_path))] == [5, 6, 7, 8, 9]


def failing(member: Archive, times: int) -> Callable[[], int]:
    """Let the archive's filesystem refuse so many times; return how often it did."""
    left, real = itertools.count(times, -1), member.writer.write
    refused = 0

    def write(*span: Any) -> Any:
        nonlocal refused
        if next(left) > 0:
            refused += 1
            raise FolderError("the disk is full")
        return real(*span)

    member.writer.write = write  # type: ignore[assignment,method-assign]
    return lambda: refused


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("consumers.archive.FIRST_WAIT_S", 0.01)


@pytest.mark.usefixtures("impatient")
def test_a_filesystem_that_refuses_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = a_broker(mixed(60))
    member = a_member(broker, some_settings(tmp_path, retry_s=60))
    refused = failing(member, 3)
    drain(member)
    publish(broker, mixed(8, seed=9))
    member.flush()
    drain(member)
    member.flush()
    assert refused() == 3
    assert "the disk is full; trying again" in caplog.text
    assert archived(str(tmp_path)) == everything(broker)


def test_patience_ends(tmp_path: Path) -> None:
    broker = a_broker(mixed(10))
    member = a_member(broker, some_settings(tmp_path))
    failing(member, 10**6)
    drain(member)
    with pytest.raises(FolderError, match="disk is full"):
        member.flush()
    assert broker.waiting(GROUP) == 11


@pytest.mark.usefixtures("impatient")
def test_partitions_lost_in_an_outage_are_let_go(tmp_path: Path) -> None:
    broker = a_broker(mixed(60))
    chosen = some_settings(tmp_path, retry_s=60, max_rows=2)
    first = a_member(broker, chosen)
    failing(first, 2)
    a_member(broker, chosen)  # joins, and takes its share while the first one waits
    for _ in range(60):
        first.step(wait_ms=0)
    assert len(first._held) == 3
    bury(broker)
    last = a_member(broker, chosen)
    drain(last)
    last.flush()
    assert archived(str(tmp_path)) == everything(broker)


@pytest.mark.usefixtures("impatient")
def test_it_can_be_stopped_in_an_outage(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broker = a_broker(mixed(20))
    member = a_member(broker, some_settings(tmp_path, retry_s=60, max_s=0.001))
    failing(member, 10**6)
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    member.run(stop)
    assert "read again next time" in caplog.text
    assert member.source.assignment() == frozenset()
    assert broker.waiting(GROUP) == 21


def test_a_run_writes_all_it_has_and_reports_itself(tmp_path: Path) -> None:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis, retry_s=0)
    try:
        broker = a_broker(mixed(120))
        member = a_member(broker, some_settings(tmp_path), store=store)
        stop = threading.Event()
        runner = threading.Thread(target=member.run, args=(stop,))
        runner.start()
        pulses: list[bytes] = []
        while not pulses and runner.is_alive():
            pulses = [raw for _, raw in store.scan("process")]
        stop.set()
        runner.join()
    finally:
        store.close()
    pulse = msgspec.json.decode(pulses[0], type=Pulse)
    assert (pulse.name, pulse.group, len(pulse.partitions)) == ("archive", GROUP, 5)
    assert archived(str(tmp_path)) == everything(broker)
    assert broker.waiting(GROUP) == 0


def test_a_redis_that_is_away_keeps_nothing_from_the_archive(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(load_settings(redis={"url": "redis://127.0.0.1:1/0"}).redis, retry_s=0)
    broker = a_broker(mixed(40))
    member = a_member(broker, some_settings(tmp_path), store=store)
    stop = threading.Event()
    threading.Timer(1.5, stop.set).start()
    member.run(stop)
    assert caplog.text.count("archiving goes on") == 1
    assert archived(str(tmp_path)) == everything(broker)


def test_an_url_that_cannot_be_used_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FolderError, match="nowhere"):
        a_member(a_broker(), some_settings("nowhere://x"))
    with pytest.raises(SettingsError, match=r"archive\.url"):
        some_settings("")


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_cut_anywhere_it_is_the_same_archive(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Steps, flushes, deaths, newcomers and compactions in any order."""
    folder, broker = tmp_path_factory.mktemp("archive"), a_broker(mixed(40))
    members: list[Archive] = []
    for _ in range(data.draw(st.integers(3, 25))):
        what = data.draw(st.sampled_from(["join", "step", "step", "flush", "die", "compact"]))
        rows = data.draw(st.integers(1, 30))
        if what == "join" or not members:
            members.append(a_member(broker, some_settings(folder, max_rows=rows)))
        elif what == "die":
            members.pop(data.draw(st.integers(0, len(members) - 1))).close()
        elif what == "compact" and (folder / "_spans").exists():
            compact(str(folder))
        else:
            member = members[data.draw(st.integers(0, len(members) - 1))]
            member.flush() if what == "flush" else member.step(wait_ms=0)
    last = a_member(broker, some_settings(folder))
    for member in members:
        member.close()
    drain(last)
    last.flush()
    assert archived(str(folder)) == everything(broker)


def test_a_replay_of_the_archive_is_one_of_the_log(tmp_path: Path, run: Run) -> None:
    """Users' states byte for byte, though the events come from partitions merged by time."""
    events = [event for event in the_log() if getattr(event, "user", "") != FORGOTTEN]
    events.sort(key=lambda event: event.timestamp)
    broker = MemoryBroker({"rillet.events": 2, "rillet.catalogue": 2})
    publish(broker, events)
    member = a_member(broker, some_settings(tmp_path, max_rows=20))
    drain(member)
    member.flush()
    compact(str(tmp_path))
    read = [decode(raw) for raw in logged(str(tmp_path))]
    again = [event for event in read if not isinstance(event, (BadRecord, Merge))]
    assert len(again) == len(read)
    assert sorted(map(encode, again)) == sorted(map(encode, events))
    counts = {"rillet.events": 2, "rillet.catalogue": 2, "rillet.transitions": 1}
    counts["rillet.deadletters"] = 1
    states = [contents(run(one, partitions=counts)) for one in (events, again)]
    assert states[0] == states[1]


def contents(result: Result) -> dict[str, Any]:
    kept = ("session:", "item:", "itemstate:", "neighbours:")
    return {name: raw for name, raw in result.keys().items() if any(k in name for k in kept)}


def test_it_knows_items_as_the_topics_do() -> None:
    assert about_items(item("i")) and about_items(withdraw("i")) and not about_items(forget("u"))
