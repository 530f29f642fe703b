from __future__ import annotations

import io
import logging
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from consumers.lockstep import CatchUp, Lockstep
from consumers.wiring import build_loop, configure_logs, group_of
from stream.errors import CheckpointError, SettingsError
from stream.loop import Loop
from stream.memory import MemoryBroker
from stream.records import Outgoing, Record, TopicPartition
from stream.settings import BatchSettings, RedisSettings, load_settings
from stream.store import Store
from stream.writes import Plain, Writes

PLACE = TopicPartition("moves", 0)


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    one = Store(RedisSettings.model_validate({"url": "embedded:"}))
    yield one
    one.close()


@pytest.fixture
def logs() -> Iterator[None]:
    root, levels = logging.getLogger(), {}
    names = ("kafka", "stream", "features", "models", "consumers", "rillet")
    before = (root.level, list(root.handlers))
    levels = {name: logging.getLogger(name).level for name in names}
    yield
    root.setLevel(before[0])
    root.handlers[:] = before[1]
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class Follower:
    """Sends one move for each record it reads."""

    name = "follower"
    topics = ("events",)

    def __init__(self) -> None:
        self.done = 0

    def assigned(self, partitions: object) -> None:
        pass

    def revoked(self, partitions: object) -> None:
        pass

    def handle(self, records: Sequence[Record]) -> Writes:
        return Writes(produced=[Outgoing("moves", record.value) for record in records])

    def committed(self) -> None:
        self.done += 1


def position(store: Store, group: str, offset: int) -> None:
    key = store.keys.position(group, PLACE.topic, PLACE.partition)
    store.write_plain([Plain(key, b"%d" % offset, 60_000)])


def test_it_returns_at_once_where_everybody_is_there(store: Store) -> None:
    broker = MemoryBroker({"events": 1, "moves": 1})
    catch_up = CatchUp(broker.source("g", ["events"]), store, "others", [PLACE])
    catch_up()  # nothing was sent: nothing to wait for
    broker.sink().send(Outgoing("moves", b"1"))
    position(store, "others", 1)
    catch_up()


def test_it_waits_until_the_others_have_caught_up(store: Store) -> None:
    broker = MemoryBroker({"events": 1, "moves": 1})
    broker.sink().send(Outgoing("moves", b"1"))
    catch_up = CatchUp(broker.source("g", ["events"]), store, "late", [PLACE])
    timer = threading.Timer(0.2, position, (store, "late", 1))
    began = time.monotonic()
    timer.start()
    catch_up()
    assert time.monotonic() - began >= 0.15
    timer.join()


def test_it_gives_up_with_a_mend(store: Store) -> None:
    broker = MemoryBroker({"events": 1, "moves": 1})
    broker.sink().send(Outgoing("moves", b"1"))
    source = broker.source("g", ["events"])
    catch_up = CatchUp(source, store, "nobody", [PLACE], patience_s=0.05)
    with pytest.raises(CheckpointError, match=r"moves\[0\] at 0 of 1") as caught:
        catch_up()
    assert "neighbours" in caught.value.mend


def test_a_handler_in_lockstep_waits_after_what_it_sent_is_stored(store: Store) -> None:
    broker = MemoryBroker({"events": 1, "moves": 1})
    seen: list[int] = []
    source, inner = broker.source("g", ["events"]), Follower()
    handler = Lockstep(inner, lambda: seen.append(len(broker.records("moves"))))
    loop = Loop(handler, source, broker.sink(), store, BatchSettings())
    for value in (b"1", b"2"):
        broker.sink().send(Outgoing("events", value))
        loop.step(wait_ms=0)
    assert seen == [1, 2]
    assert inner.done == 2
    assert (handler.name, handler.topics) == ("follower", ("events",))


def test_groups_are_named_after_the_settings() -> None:
    assert group_of("catalogue", load_settings(kafka={"group": "shop"})) == "shop.catalogue"


def test_an_unknown_consumer_is_named(store: Store) -> None:
    with pytest.raises(SettingsError, match="persona") as caught:
        build_loop("persona", load_settings(), store)
    assert "personalize" in caught.value.mend


@pytest.mark.usefixtures("logs")
def test_an_event_of_the_log_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    configure_logs()
    log = logging.getLogger("consumers.somewhere")
    log.debug("not shown")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("failed")
    logging.getLogger("kafka.net").error("the client's own noise")
    written = output.getvalue()
    assert written.count("\n") == 1
    assert "consumers.somewhere: failed | Traceback" in written


@pytest.mark.usefixtures("logs")
@pytest.mark.parametrize(("verbosity", "level"), [(-1, "WARNING"), (0, "INFO"), (1, "DEBUG")])
def test_verbose_says_more(verbosity: int, level: str) -> None:
    configure_logs(verbosity)
    assert logging.getLogger("stream").level == logging.getLevelName(level)
