"""Publishing for many at once: whose records Kafka does not take, and who is not concerned."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from rillet.serving import publisher
from rillet.serving.figures import Figures
from rillet.serving.publisher import Publisher
from stream.errors import BrokerError, NotTakenError, SettingsError
from stream.memory import MemoryBroker, MemorySink
from stream.records import Outgoing
from stream.settings import KafkaSettings, Settings, load_settings

GOOD, LONG, DENIED = Outgoing("t", b"good"), Outgoing("t", b"x" * 99), Outgoing("secret", b"s")
FATAL = Outgoing("secret", b"all")
"""What its broker refuses so that all fails that was under way, as with what is too long for it."""


class Choosy:
    """A way to a broker that refuses as Kafka's does: long records at once, others at the end."""

    def __init__(self, broker: MemoryBroker) -> None:
        self._sink, self._refused = MemorySink(broker), list[Outgoing]()
        self._under_way: list[Outgoing] = []

    def send(self, record: Outgoing) -> None:
        if len(record.value) > 50:
            raise NotTakenError("too long", "shorten it", [record])
        if record.topic == "secret":
            self._refused.append(record)
        else:
            self._under_way.append(record)

    def flush(self, timeout_s: float = 30) -> None:
        refused, self._refused = self._refused, []
        if FATAL in refused:
            refused = [FATAL, *self._under_way, *refused]
            self._under_way = []
        for record in self._under_way:
            self._sink.send(record)
        self._under_way = []
        if refused:
            raise NotTakenError("not allowed", "", refused)

    def close(self) -> None:
        self._sink.close()


class Way:
    """Counts how often it is connected."""

    def __init__(self) -> None:
        self.broker, self.connected = MemoryBroker(), 0
        self.fails: list[Exception] = []

    def __call__(self, _: KafkaSettings) -> Choosy:
        self.connected += 1
        if self.fails:
            raise self.fails.pop()
        return Choosy(self.broker)


@pytest.fixture
def settings() -> Settings:
    return load_settings(serve={"kafka_s": 1})


@pytest.fixture
def way() -> Iterator[Way]:
    one = Way()
    yield one
    assert not one.fails


def published(settings: Settings, way: Way, *given: list[Outgoing]) -> list[Any]:
    """Give them all before the thread begins, so that they go together."""

    async def go() -> list[Any]:
        one = Publisher(settings, Figures(), way)
        waiting = [asyncio.create_task(one.publish(records)) for records in given]
        await asyncio.sleep(0)
        one.start()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        with_more = await asyncio.gather(one.publish([GOOD]), return_exceptions=True)
        await one.close()
        return [*found, *with_more]

    return asyncio.run(asyncio.wait_for(go(), 20))


@pytest.mark.parametrize("bad", [LONG, DENIED, FATAL])
def test_a_record_that_is_refused_fails_whoever_sent_it_alone(
    settings: Settings, way: Way, bad: Outgoing
) -> None:
    others = [Outgoing("t", str(n).encode()) for n in range(3)]
    first, refused, last, after = published(
        settings, way, [others[0]], [others[1], bad], [others[2]]
    )
    assert isinstance(refused, BrokerError)
    assert (first, last, after) == (None, None, None)
    stored = sorted(one.value for one in way.broker.records("t"))
    assert stored == ([b"0", b"2", b"good"] if bad is FATAL else [b"0", b"1", b"2", b"good"])
    assert way.connected == (1 if bad is LONG else 2)


def test_what_is_refused_again_and_again_is_told_in_the_end(settings: Settings, way: Way) -> None:
    *refused, after = published(settings, way, *([Outgoing("secret", b"s")] for _ in range(6)))
    assert all(isinstance(one, BrokerError) for one in refused)
    assert after is None
    assert way.connected == publisher.ROUNDS + 1


@pytest.mark.parametrize("error", [SettingsError("no such ssl_cafile", "name one"), OSError("odd")])
def test_any_other_error_is_told_and_the_next_ones_are_sent(
    settings: Settings,
    way: Way,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    monkeypatch.setattr(publisher, "PAUSE_S", 0.0)
    way.fails = [error]
    failed, after = published(settings, way, [GOOD])
    assert isinstance(failed, BrokerError)
    assert after is None
    assert any(line.exc_info and line.exc_info[1] is error for line in caplog.records)


def test_what_nobody_waits_for_is_dropped_where_kafka_does_not_keep_up(
    settings: Settings, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher, "MOST_OFFERED", 3)
    figures = Figures()

    async def go() -> None:
        one = Publisher(settings, figures, way)
        for _ in range(10):
            one.offer([GOOD])
        assert figures.refused._value.get() == 7
        way.fails = [BrokerError("away")]
        one.start()
        while figures.refused._value.get() < 10:
            await asyncio.sleep(0.01)
        one.offer([GOOD, GOOD])  # it is known that Kafka is away
        await one.close()

    asyncio.run(asyncio.wait_for(go(), 20))
    assert figures.refused._value.get() == 12
    assert way.connected == 1
