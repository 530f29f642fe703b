"""Where a measurement runs: topics and keys of its own, removed when it is over."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

import redis

from consumers.wiring import CONSUMERS, group_of
from stream.errors import BrokerError
from stream.events import Event, encode
from stream.kafka import KafkaSink, admin
from stream.keys import DEFAULT_USER
from stream.routing import outgoing
from stream.settings import KafkaSettings, Settings
from stream.store import Store
from stream.topics import ensure_topics
from stream.writes import Plain

__all__ = ["NO_MODELS", "Place", "Servers", "embedded", "settings_of", "shelve", "unshelve"]

NO_MODELS: Final = "/nonexistent/rillet-models"
"""A registry in which there is nothing."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where the real Kafka (``host:port``) and the real Redis (a URL) are."""

    kafka: str
    redis: str


def settings_of(servers: Servers, name: str, registry: str = NO_MODELS) -> Settings:
    """Return the default settings, with topics, groups and keys that begin with ``name``.

    Neither a settings file nor the environment has a say: a benchmark is to
    measure the same thing everywhere. Nor has a registry of models that lies
    where it is run: the one that is named counts, by default one that is not there.
    """
    topics = ("events", "catalogue", "transitions", "deadletters")
    kafka = {topic: f"{name}.{topic}" for topic in topics}
    return Settings.model_validate(
        {
            "kafka": {"bootstrap": servers.kafka, "group": name, **kafka},
            "redis": {"url": servers.redis, "prefix": name},
            "training": {"registry": registry},
        }
    )


class Place:
    """Topics in Kafka and keys in Redis that nobody else has.

    Parameters
    ----------
    servers
        Where they are made.
    name
        What is measured there; a part of every name.
    registry
        Folder of trained models, whose current ones are served.

    Raises
    ------
    BrokerError, StoreError
        One of the servers cannot be reached.
    """

    def __init__(self, servers: Servers, name: str, registry: str = NO_MODELS) -> None:
        self.name = f"bench-{name}-{uuid.uuid4().hex[:8]}"
        self.settings = settings_of(servers, self.name, registry)
        self.store = Store(self.settings.redis, retry_s=5.0)

    def __enter__(self) -> Self:
        self.store.health()
        missing = [one.name for one in ensure_topics(self.settings.kafka) if not one.partitions]
        if missing:
            raise BrokerError(f"Kafka did not make {', '.join(missing)}")
        self.sink = KafkaSink(self.settings.kafka)
        return self

    def publish(self, events: Iterable[Event]) -> None:
        """Send events to their topics, and wait until Kafka has them."""
        for event in events:
            self.sink.send(outgoing(encode(event), event, self.settings))
        self.sink.flush()

    def a_list(self) -> bytes:
        """Return some user's recommendations as they lie in Redis, b"" where there are none."""
        found = (raw for user, raw in self.store.scan("recs") if user != DEFAULT_USER)
        return next(found, b"")

    def __exit__(self, *_: object) -> None:
        try:
            self.sink.close()
            self._drop_keys()
            self._drop_topics()
        finally:
            self.store.close()

    def _drop_keys(self) -> None:
        client: Any = redis.Redis.from_url(self.settings.redis.url.get_secret_value())
        with client:
            found = list(client.scan_iter(match=f"{self.name}:*", count=1000))
            for first in range(0, len(found), 500):
                client.unlink(*found[first : first + 500])

    def _drop_topics(self) -> None:
        kafka: KafkaSettings = self.settings.kafka
        topics = [kafka.events, kafka.catalogue, kafka.transitions, kafka.deadletters]
        with admin(kafka, "drop the benchmark's topics") as client:
            # What it answers is left alone: a group nobody joined is none to drop.
            client.delete_groups([group_of(name, self.settings) for name in CONSUMERS])
            client.delete_topics(topics)


@contextmanager
def embedded() -> Iterator[tuple[Settings, Store]]:
    """Lend default settings with a Redis of its own, which ends with the block."""
    settings = Settings.model_validate({"redis": {"url": "embedded:"}})
    store = Store(settings.redis)
    try:
        yield settings, store
    finally:
        store.close()


Vectors = dict[str, bytes]


def shelve(store: Store, known: Vectors) -> None:
    """Note the content vectors that were encoded, for :func:`unshelve`."""
    known.update(store.scan("vector"))


def unshelve(store: Store, known: Vectors) -> None:
    """Write content vectors that are known: their texts are not encoded again."""
    head = store.keys.pattern("vector")[:-1]
    store.write_plain([Plain(f"{head}{name}", raw, store.ttl_ms) for name, raw in known.items()])
