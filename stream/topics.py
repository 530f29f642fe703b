"""Rillet's topics: created by ``init``, looked at by ``doctor`` and ``status``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from kafka.consumer import KafkaConsumer  # type: ignore[import-untyped]
from kafka.structs import TopicPartition as Place  # type: ignore[import-untyped]

from stream.errors import BrokerError
from stream.kafka import body, demand
from stream.kafka_client import DENIED, admin, connection, denied, explained, when_settled
from stream.kafka_settings import KafkaSettings
from stream.records import Record, TopicPartition

__all__ = [
    "Cluster",
    "Lag",
    "TopicState",
    "delete_below",
    "describe",
    "ensure_topics",
    "group_lag",
    "read_topic",
]

LATEST: Final = -1
EARLIEST: Final = -2
"""The protocol's own numbers for a partition's two ends."""


HIDDEN: Final = "hidden by the ACLs: Describe is needed"
"""The note of a topic that may be there, and that we may not see."""


class TopicState(NamedTuple):
    """A topic as it is; ``note`` says what was done or is odd."""

    name: str
    partitions: int
    note: str


class Lag(NamedTuple):
    """How far a group is behind in one partition; no position where it never committed."""

    place: TopicPartition
    position: int | None
    end: int
    lag: int


class Cluster(NamedTuple):
    """What ``doctor`` shows of a Kafka."""

    brokers: list[str]
    topics: list[TopicState]


def _names(settings: KafkaSettings) -> list[str]:
    return [settings.events, settings.catalogue, settings.transitions, settings.deadletters]


def ensure_topics(settings: KafkaSettings) -> list[TopicState]:
    """Create the topics that are missing; existing ones are left as they are.

    The catalogue is compacted: it keeps the newest state of every item for good.
    """
    with admin(settings, "create topics", "Create") as client:
        found = _states(client, _names(settings))
        if hidden := {one.name for one in found if one.note == HIDDEN}:
            raise denied(hidden)
        missing = [one.name for one in found if not one.partitions]
        wanted = {
            name: {
                "num_partitions": settings.partitions,
                "replication_factor": settings.replication,
                "configs": {"cleanup.policy": "compact"} if name == settings.catalogue else {},
            }
            for name in missing
        }
        if wanted:
            # Somebody else may create them at the same moment, which is as good; what is
            # missing afterwards the notes say.
            client.create_topics(wanted, raise_errors=False, wait_for_metadata=True)
        made = [(one, one.name in missing) for one in _states(client, _names(settings))]
    return [_noted(state, settings.partitions, created) for state, created in made]


def _noted(state: TopicState, partitions: int, created: bool) -> TopicState:
    if created:
        return state._replace(note="created" if state.partitions else "could not be created")
    odd = state.partitions and state.partitions != partitions
    return state._replace(note=f"{partitions} are set" if odd else state.note)


def _states(client: Any, names: Sequence[str]) -> list[TopicState]:
    found = {topic["name"]: topic for topic in client.describe_topics(list(names))}
    counts = {name: len(found[name]["partitions"]) if name in found else 0 for name in names}
    hidden = {name for name in found if found[name]["error_code"] == DENIED}
    absent = {name: HIDDEN if name in hidden else "missing" for name in names}
    return [TopicState(name, n, "" if n else absent[name]) for name, n in counts.items()]


def describe(settings: KafkaSettings) -> Cluster:
    """Return the brokers that can be reached and the state of our topics."""
    with admin(settings, "describe the cluster") as client:
        brokers = [f"{one['host']}:{one['port']}" for one in client.describe_cluster()["brokers"]]
        return Cluster(brokers, _states(client, _names(settings)))


def group_lag(settings: KafkaSettings, group: str, topics: Sequence[str]) -> list[Lag]:
    """Return how far a group is behind, partition by partition, without joining it."""
    return when_settled(lambda: _group_lag(settings, group, topics))


def _group_lag(settings: KafkaSettings, group: str, topics: Sequence[str]) -> list[Lag]:
    with admin(settings, f"ask for the lag of {group}") as client:
        states = _states(client, topics)
        places = [
            TopicPartition(one.name, number) for one in states for number in range(one.partitions)
        ]
        ends = client.list_partition_offsets(dict.fromkeys(places, LATEST))
        oldest = client.list_partition_offsets(dict.fromkeys(places, EARLIEST))
        found = client.list_group_offsets({group: places}).get(group, {})
    lags = []
    for place in places:
        committed = found[place].offset if place in found and found[place].offset >= 0 else None
        end, first = ends[place].offset, oldest[place].offset
        behind = end - max(first, committed if committed is not None else first)
        lags.append(Lag(place, committed, end, max(0, behind)))
    return lags


def read_topic(settings: KafkaSettings, topic: str) -> Iterator[Record]:
    """Yield all that a topic holds now, partition by partition in order, joining no group.

    Raises
    ------
    BrokerError
        Kafka cannot be reached, or lacks the topic.
    """
    demand(settings, [topic])
    options = {"enable_auto_commit": False, "auto_offset_reset": "earliest"}
    with explained(settings, f"read {topic}", "Read"):
        consumer = KafkaConsumer(group_id=None, **options, **connection(settings))
        try:
            partitions = consumer.partitions_for_topic(topic) or ()
            for place in sorted(Place(topic, number) for number in partitions):
                yield from _read_partition(consumer, place, settings.timeout_s)
        finally:
            consumer.close()


def _read_partition(consumer: Any, place: Any, patience_s: float) -> Iterator[Record]:
    consumer.assign([place])
    end = consumer.end_offsets([place])[place]
    consumer.seek_to_beginning(place)
    silent = 0.0
    while consumer.position(place) < end:
        found = consumer.poll(timeout_ms=500, max_records=1000).get(place, [])
        silent = 0.0 if found else silent + 0.5
        if silent > patience_s:
            raise BrokerError(f"{place.topic}[{place.partition}] cannot be read to its end")
        for one in found:
            if one.offset < end:
                yield Record(one.topic, one.partition, one.offset, one.key, *body(one))


def delete_below(settings: KafkaSettings, ends: Mapping[TopicPartition, int]) -> None:
    """Delete the records below these offsets, for good; the broker frees the disk by segments.

    Raises
    ------
    BrokerError
        Kafka cannot be reached, or refuses.
    """
    with admin(settings, "delete records", "Delete") as client:
        client.delete_records({Place(*place): end for place, end in ends.items()})
