from __future__ import annotations

from collections.abc import Iterator

import pytest

from benchmarks.contender import Reader
from benchmarks.place import embedded
from stream.events import Event, encode
from stream.memory import MemoryBroker
from stream.routing import outgoing
from stream.settings import Settings
from stream.store import Store


@pytest.fixture(scope="session")
def server() -> Iterator[Store]:
    with embedded() as (_, store):
        yield store


@pytest.fixture
def settings(server: Store, request: pytest.FixtureRequest) -> Settings:
    redis = {"url": server.url, "prefix": request.node.name}
    return Settings.model_validate({"redis": redis})


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    one = Store(settings.redis)
    yield one
    one.close()


class Topic:
    """The events topic in memory, and a contender's reader of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.broker = MemoryBroker()
        self.reader = Reader(self.broker.source("readers", [settings.kafka.events]))

    def publish(self, *events: Event) -> None:
        for event in events:
            self.broker.sink().send(outgoing(encode(event), event, self.settings))


@pytest.fixture
def topic(settings: Settings) -> Topic:
    return Topic(settings)
