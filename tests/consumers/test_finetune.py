"""The periodic job over a real archive: when it trains, who trains, and how it ends."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from consumers.finetune import Finetune, _Stopped
from consumers.lease import held
from consumers.training import Outcome
from features.text import Encoder
from models.registry import Registry
from stream.announcement import Announced, announced
from stream.clock import HandClock
from stream.errors import SettingsError
from stream.events import Event, decode
from stream.folder import Folder
from stream.metrics import Pulse
from stream.records import TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain
from tests.builders import DAY, HOUR, NOON, search
from tests.consumers.small_log import the_items
from tests.consumers.trained import small, stock, visits
from tests.stream.archives import fill, rows_of

_prefixes = itertools.count()
EVENTS = TopicPartition("rillet.events", 0)
EARLY = visits()
LATE = visits(begin=NOON + 3 * DAY, seed=8)


class Stop(threading.Event):
    """Is set from the n-th time on that somebody looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


class Shop:
    """A Redis with items, an archive of what users did, and jobs over it, by a clock of its own."""

    def __init__(self, home: Path, server: str, encoder: Encoder) -> None:
        self.home, self.encoder = home, encoder
        self._redis = {"url": server, "prefix": f"finetune{next(_prefixes)}"}
        self.clock = HandClock(NOON + 30 * DAY)
        self.store = Store(self.settings().redis)
        self._archived = 0
        stock(self.settings(), self.store, encoder, home / "items.jsonl", the_items())

    def settings(self, **groups: Any) -> Settings:
        groups.setdefault("training", {"tolerance": 0.4})
        return Settings.model_validate(small(self.home, redis=self._redis, **groups))

    def job(self, **groups: Any) -> Finetune:
        """Return the job as a process has it that starts now."""
        settings = self.settings(**groups)
        job = Finetune(settings, self.store, self.encoder, self.clock)
        job.registry = Registry(Folder(settings.training.registry, self.clock))
        return job

    def archive(self, events: Sequence[Event]) -> None:
        rows = rows_of(events, self._archived)
        place = EVENTS._replace(partition=self._archived)  # each part as if of a partition
        fill(self.settings().archive.url, rows_of(events), place=place)
        self._archived += len(rows)

    def train(self, **groups: Any) -> Outcome:
        outcome = self.job(**groups).once(threading.Event())
        assert outcome is not None
        return outcome

    def wait(self, hours: float) -> None:
        self.clock.advance_to(self.clock.now_ms() + int(hours * HOUR))

    @property
    def registry(self) -> Registry:
        return Registry(self.settings().training.registry)

    @property
    def free(self) -> bool:
        lease = self.store.lease("finetune", 60)
        if had := lease.take():
            lease.give_up()
        return had


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store.url
    store.close()


@pytest.fixture
def shop(tmp_path: Path, server: str, encoder: Encoder) -> Iterator[Shop]:
    one = Shop(tmp_path, server, encoder)
    yield one
    one.store.close()


def test_without_an_archive_there_is_nothing_to_do(shop: Shop) -> None:
    job = shop.job()
    assert not job.due()
    assert job.once(threading.Event()) is None
    assert (job.runs, job.registry.entries(), shop.free) == (0, [], True)


def test_an_archive_in_which_nobody_took_anything_is_nothing_to_do(shop: Shop) -> None:
    shop.archive([search("cup", NOON + n) for n in range(9)])
    assert not shop.job().due()


def test_the_first_run_is_due_at_once(shop: Shop) -> None:
    shop.archive(EARLY)
    assert shop.job().due()


def test_the_next_is_due_when_the_last_is_old_enough_and_something_is_new(shop: Shop) -> None:
    chosen = {"transformer": {"every_hours": 12}}
    shop.archive(EARLY)
    shop.train()
    shop.wait(13)
    assert not shop.job(**chosen).due()  # nothing is new
    shop.archive(LATE[:9])
    assert shop.job(**chosen).due()
    assert not shop.job(transformer={"every_hours": 14}).due()
    shop.wait(1)
    assert shop.job(transformer={"every_hours": 14}).due()


def test_the_next_is_due_when_enough_is_new(shop: Shop) -> None:
    shop.archive(EARLY)
    shop.train()
    shop.wait(1)
    shop.archive(LATE)
    new = sum(one.event == "interaction" for one in rows_of(LATE))
    assert shop.job(transformer={"every_events": new}).due()
    assert not shop.job(transformer={"every_events": new + 1}).due()


def test_a_refused_model_counts_as_a_run_too(shop: Shop) -> None:
    shop.archive(EARLY)
    shop.train()
    shop.archive(LATE)
    shop.wait(30)
    worse = shop.train(training={}, transformer={"learning_rate": 3.0})
    assert not worse.verdict.promote
    shop.wait(23)
    assert not shop.job().due()


def test_a_run_that_came_to_nothing_is_tried_again_after_an_hour(shop: Shop) -> None:
    shop.archive(EARLY)
    job = shop.job()
    (shop.home / "models").mkdir()
    (shop.home / "models" / "current-sequence.json").write_text("{")
    assert job.due()
    assert job.once(threading.Event()) is None
    assert not job.due()
    shop.wait(0.9)
    assert not job.due()
    shop.wait(0.2)
    assert job.due()


def test_a_promotion_is_announced_and_a_refusal_is_not(shop: Shop) -> None:
    shop.archive(EARLY)
    first = shop.train()
    news = announced(shop.store, "sequence")
    assert news is not None
    assert (news.version, news.at) == (first.version, shop.clock.now_ms())
    assert news.registry == shop.registry.url == f"file://{shop.home}/models"
    shop.archive(LATE)
    shop.wait(30)
    worse = shop.train(training={}, transformer={"learning_rate": 3.0})
    assert not worse.verdict.promote
    assert announced(shop.store, "sequence") == news
    better = shop.train()
    assert better.verdict.promote
    assert better.parent == first.version
    news = announced(shop.store, "sequence")
    assert news is not None
    assert news.version == better.version
    pointer = shop.registry.current("sequence")
    assert pointer is not None
    assert pointer.current.version == better.version


@pytest.mark.parametrize("told", [True, False])
def test_what_was_promoted_without_redis_is_announced_later(shop: Shop, told: bool) -> None:
    shop.archive(EARLY)
    first = shop.train()
    shop.archive(LATE)
    shop.wait(1)
    second = shop.train()
    pointer = shop.registry.rollback("sequence")
    if not told:
        shop.store.write_plain([Plain(shop.store.keys.model("sequence"), None)])
    job, stop = shop.job(), threading.Event()
    thread = threading.Thread(target=job.run, args=(stop,))
    thread.start()
    news = Announced(first.version, shop.registry.url, pointer.current.at)
    wait_until(lambda: announced(shop.store, "sequence") == news)
    stop.set()
    thread.join()
    assert first.version != second.version


def test_one_trains_at_a_time(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    shop.archive(EARLY)
    one, other = shop.job(), shop.job()
    with held(shop.store, threading.Event()) as mine:
        assert mine
        with caplog.at_level("INFO"):
            assert other.once(threading.Event()) is None
        assert "another process trains" in caplog.text
        assert other.registry.entries() == []
    assert other.once(threading.Event()) is not None
    assert one.once(threading.Event()) is None  # nothing is new
    assert [len(one.registry.entries()), one.runs, other.runs] == [1, 0, 1]


def test_the_lease_is_held_while_a_run_trains(shop: Shop) -> None:
    shop.archive(EARLY)
    job, seen = shop.job(), []

    class Looking(threading.Event):
        def is_set(self) -> bool:
            seen.append(shop.free)
            return False

    assert job.once(Looking()) is not None
    assert seen
    assert not any(seen)
    assert shop.free


@pytest.mark.parametrize("kind", ["model", "log", "folder", "settings"])
def test_the_lease_is_free_again_after_an_error(shop: Shop, kind: str) -> None:
    shop.archive(EARLY)
    more: dict[str, Any] = {}
    if kind == "model":
        (shop.home / "models").mkdir()
        (shop.home / "models" / "current-sequence.json").write_text("{")
    elif kind == "log":
        for file in (shop.home / "archive").rglob("*.parquet"):
            file.write_bytes(b"no parquet")
    elif kind == "folder":
        (shop.home / "models").write_text("a file where a folder should be")
    else:
        more = {"transformer": {"heads": 3}}
    job = shop.job(**more)
    if kind == "settings":
        with pytest.raises(SettingsError):
            job.once(threading.Event())
    else:
        assert job.once(threading.Event()) is None
    assert shop.free
    assert job.runs == 0


def test_an_archive_that_cannot_be_reached_is_looked_at_later(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    assert not shop.job(archive={"url": "nowhere://shop/archive"}).due()
    assert "nowhere" in caplog.text
    shop.archive(EARLY)
    assert shop.job().due()


def test_a_lease_that_ran_out_is_taken_again_or_ends_the_run(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.lease.LEASE_S", 0.3)
    key = shop.store.keys.lease("finetune")
    shop.archive(EARLY)
    job = shop.job()
    with held(shop.store, job._lost) as mine:
        assert mine
        shop.store.write_plain([Plain(key, None)])
        wait_until(lambda: shop.store.get(key) is not None)
        assert not job._lost.is_set()
        shop.store.write_plain([Plain(key, b"of another process", 60_000)])
        wait_until(job._lost.is_set)
        with pytest.raises(_Stopped):
            job._train(threading.Event())
    assert shop.store.get(key) == b"of another process"  # and it is not taken from him
    assert job.registry.entries() == []


def wait_until(true: Any) -> None:
    for _ in range(2000):
        if true():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it never came")


def test_a_run_that_is_told_to_stop_goes_on_at_the_next_start(shop: Shop, tmp_path: Path) -> None:
    shop.archive(EARLY)
    apart = {"training": {"registry": str(tmp_path / "whole")}}
    whole = shop.train(**apart)
    reads, steps = len(EARLY), 5  # a pass has three or four steps
    stop = Stop(reads + steps)
    first = shop.job()
    assert first.once(stop) is None
    assert stop.left == -1  # it was asked once more, and ended
    assert (shop.home / "run").exists()
    assert (first.registry.entries(), first.runs, shop.free) == ([], 0, True)
    outcome = shop.train()
    assert outcome.held_out == whole.held_out
    mine = shop.registry.load(outcome.version)[0]
    theirs = Registry(str(tmp_path / "whole")).load(whole.version)[0]
    assert all(np.array_equal(mine[name], theirs[name]) for name in theirs)
    assert not (shop.home / "run").exists()


def test_it_is_told_to_stop_while_it_reads_too(shop: Shop) -> None:
    shop.archive(EARLY)
    stop = Stop(10)
    assert shop.job().once(stop) is None
    assert stop.left == -1
    assert shop.free


def test_a_process_trains_beats_and_ends(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.metrics.Heart.due", lambda _: True)
    shop.archive(EARLY)
    job, stop = shop.job(), threading.Event()
    thread = threading.Thread(target=job.run, args=(stop,))
    thread.start()
    wait_until(lambda: job.runs or not thread.is_alive())
    stop.set()
    thread.join()
    assert job.runs == 1
    ((name, raw),) = shop.store.scan("process")
    pulse = msgspec.json.decode(raw, type=Pulse)
    assert name.startswith("finetune:")
    assert (pulse.name, pulse.group) == ("finetune", "rillet.finetune")


def test_what_was_archived_is_what_is_trained_on(shop: Shop) -> None:
    shop.archive(EARLY)
    shop.archive(LATE)
    outcome = shop.train()
    taken = [decode(row.raw) for row in rows_of([*EARLY, *LATE]) if row.event == "interaction"]
    assert outcome.interactions == len(taken) == 480
    manifest = shop.registry.manifest(outcome.version)
    topic = EVENTS.topic
    ends = {f"{topic}:0": len(EARLY), f"{topic}:{len(EARLY)}": len(LATE)}
    assert manifest.offsets == ends
    assert manifest.data.last_ms == max(int(event.timestamp) for event in [*EARLY, *LATE])


def test_the_logs_of_a_run_lie_where_the_settings_say(shop: Shop) -> None:
    shop.archive(EARLY)
    logs = shop.home / "logs"
    shop.train(transformer={"logs": str(logs)})
    (run,) = logs.iterdir()
    assert any(file.name.startswith("events.out.tfevents") for file in run.iterdir())
