"""What a run needs around it: a Kafka behind a proxy, and a Redis of its own behind another."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from kafka.consumer import KafkaConsumer  # type: ignore[import-untyped]
from kafka.structs import TopicPartition as Place  # type: ignore[import-untyped]
from pydantic import SecretStr

from features.text import load_encoder
from rillet.simulate.vocabulary import SHELVES
from stream.kafka_client import admin, when_settled
from stream.records import Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.topics import LATEST, ensure_topics
from tests.faults.nursery import Nursery
from tests.faults.places import Places
from tests.faults.proxy import HOST, Proxy
from tests.faults.schedule import Schedule
from tests.faults.servers import Kafka, Redis
from tests.faults.shop import PARTITIONS
from tests.tiny_encoder import make_encoder

__all__ = ["Run", "Stage", "make_small_encoder", "settings_for"]

TOPICS = ("events", "catalogue", "transitions", "deadletters")


def settings_for(folder: Path, run: str, kafka: str, redis: str, assignment: str) -> dict[str, Any]:
    """Return the settings of a run; batches and files are small, so that there are many."""
    topics = {name: f"{run}.{name}" for name in TOPICS}
    timing = {"timeout_s": 30, "session_s": 6, "assignment": assignment}
    return {
        "kafka": {"bootstrap": kafka, "group": run, "partitions": PARTITIONS, **topics, **timing},
        "redis": {"url": redis, "prefix": run, "timeout_s": 2},
        "batch": {"max_records": 24, "wait_ms": 100},
        "archive": {"url": str(folder / run / "archive"), "max_rows": 20, "max_s": 0.5},
        "encoder": {"model": str(folder.parent / "encoder"), "cache_dir": str(folder.parent / "c")},
        "training": {"registry": str(folder / "registry")},
    }


def variables_of(settings: dict[str, Any]) -> dict[str, str]:
    """Return the environment of a process with these settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}
    own = {
        f"RILLET_{group.upper()}__{name.upper()}": str(value)
        for group, values in settings.items()
        for name, value in values.items()
    }
    return clean | own | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def make_small_encoder(folder: Path) -> None:
    """Write the encoder of all runs that lie below a folder, and export it once for all."""
    words = sorted({word.lower() for shelf in SHELVES for word in str(shelf).split()})
    make_encoder(folder / "encoder", words)
    given = settings_for(folder / "job", "none", "none", "embedded:", "range")
    load_encoder(Settings.model_validate(given).encoder)


class Stage:
    """A Kafka behind a proxy, and what starts processes; for one run after the other.

    Parameters
    ----------
    folder
        Everything that is written lies here.
    ports
        Kafka's door, its controller's, the door behind the proxy, the proxy's; Redis', and
        that of the proxy before it.
    """

    def __init__(self, folder: Path, ports: Sequence[int]) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.ports = list(ports)
        self.kafka = Kafka(folder / "kafka", self.ports[:4])
        self.proxy = Proxy(self.ports[3], self.ports[2])
        self.nursery = Nursery()

    def close(self) -> None:
        """End all of it."""
        self.nursery.close()
        self.proxy.close()
        self.kafka.stop(kill=True)
        shutil.rmtree(self.folder / "kafka", ignore_errors=True)


class Run:
    """The topics, the Redis and the folder of one run.

    Attributes
    ----------
    direct
        Settings that go around the proxies; for the harness.
    variables
        Environment of the processes, which go through them.
    """

    def __init__(self, stage: Stage, schedule: Schedule, name: str) -> None:
        self.stage, self.name = stage, name
        self.folder = stage.folder / name
        shutil.rmtree(self.folder, ignore_errors=True)
        self.redis = Redis(self.folder / "redis", stage.ports[4])
        self.proxy = Proxy(stage.ports[5], stage.ports[4])
        doors = f"{HOST}:{stage.ports[3]}", f"redis://{HOST}:{stage.ports[5]}/0"
        through = settings_for(stage.folder, name, *doors, schedule.assignment)
        self.variables = variables_of(through)
        direct = f"redis://{HOST}:{stage.ports[4]}/0"
        around = settings_for(stage.folder, name, stage.kafka.address, direct, schedule.assignment)
        self.direct = Settings.model_validate(around)
        self.store = Store(
            self.direct.redis.model_copy(update={"url": SecretStr(direct)}), retry_s=20
        )
        ensure_topics(self.direct.kafka)

    def behind(self) -> dict[str, str]:
        """Return by consumer what it has still to do; empty where all is done."""
        return when_settled(self._behind)

    def _behind(self) -> dict[str, str]:
        kafka = self.direct.kafka
        reads = {
            "personalize": [kafka.events],
            "catalogue": [kafka.catalogue],
            "archive": [kafka.events, kafka.catalogue],
            "neighbours": [kafka.transitions],
        }
        places = {
            name: [TopicPartition(topic, at) for topic in topics for at in range(PARTITIONS)]
            for name, topics in reads.items()
        }
        with admin(kafka, "ask how far the run is") as client:
            every = [one for some in places.values() for one in some]
            ends = client.list_partition_offsets(dict.fromkeys(every, LATEST))
            groups = {f"{kafka.group}.{name}": some for name, some in places.items()}
            found = client.list_group_offsets(groups)
        waiting: dict[str, str] = {}
        for name, some in places.items():
            offsets = found.get(f"{kafka.group}.{name}", {})
            for place in some:
                end = ends[place].offset
                at = offsets[place].offset if place in offsets else 0
                known = end if name == "archive" else self._known(name, place)
                if min(at, known) < end:
                    waiting[name] = f"{place}: Kafka {at}, Redis {known} of {end}"
        return waiting

    def _known(self, name: str, place: TopicPartition) -> int:
        group = f"{self.direct.kafka.group}.{name}"
        raw = self.store.get(self.store.keys.position(group, place.topic, place.partition))
        return int(raw or 0)

    def letters(self) -> set[tuple[int, int]]:
        """Return where each record lies that was set aside."""
        found: set[tuple[int, int]] = set()
        for record in self._records(self.direct.kafka.deadletters):
            headers = dict(record.headers)
            found.add((int(headers["partition"]), int(headers["offset"])))
        return found

    def places(self) -> Places:
        """Return the places of the events topic, among which consumers have published, too."""
        return Places(self._records(self.direct.kafka.events))

    def _records(self, topic: str) -> Iterator[Record]:
        consumer = KafkaConsumer(
            bootstrap_servers=self.stage.kafka.address,
            auto_offset_reset="earliest",
            enable_auto_commit=False,
            metrics_enabled=False,
        )
        try:
            mine = [Place(topic, at) for at in range(PARTITIONS)]
            consumer.assign(mine)
            ends = consumer.end_offsets(mine)
            while any(consumer.position(one) < ends[one] for one in mine):
                for batch in consumer.poll(timeout_ms=500).values():
                    for one in batch:
                        yield Record(
                            *(one.topic, one.partition, one.offset, one.key, one.value),
                            headers=tuple(one.headers),
                        )
        finally:
            consumer.close()

    def close(self, *, keep: bool) -> None:
        """End it; the folder stays where there is something to look at."""
        self.store.close()
        self.proxy.close()
        self.redis.stop(kill=True)
        kafka = self.direct.kafka
        with admin(kafka, "drop the run's topics") as client:
            client.delete_topics([getattr(kafka, name) for name in TOPICS])
        if not keep:
            shutil.rmtree(self.folder, ignore_errors=True)
