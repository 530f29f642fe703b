"""Kafka: the only place that talks to it.

kafka-python keeps the membership alive from a thread of its own; still a
source must be polled every few minutes, and joins a group only in a poll.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import kafka.errors as kafka_errors  # type: ignore[import-untyped]
from kafka.consumer import KafkaConsumer  # type: ignore[import-untyped]
from kafka.consumer.subscription_state import (  # type: ignore[import-untyped]
    ConsumerRebalanceListener,
)
from kafka.producer import KafkaProducer  # type: ignore[import-untyped]
from kafka.structs import OffsetAndMetadata  # type: ignore[import-untyped]
from kafka.structs import TopicPartition as Place

from stream.aside import aside
from stream.errors import BrokerError, NotTakenError
from stream.kafka_client import (
    DENIED,
    FOREIGN,
    SHARING,
    CooperativeSticky,
    admin,
    connection,
    denied,
    explained,
    mend,
    ours,
    waiting,
)
from stream.kafka_settings import KafkaSettings
from stream.records import Listener, Outgoing, Record, TopicPartition

__all__ = ["KafkaSink", "KafkaSource", "admin", "body", "demand"]

log = logging.getLogger(__name__)

DELIVERY_S: Final = 120.0
"""How long a record is tried before it counts as refused: a broker's restart fits in."""

_MOVED_ON: Final = (
    kafka_errors.CommitFailedError,
    kafka_errors.RebalanceInProgressError,
    kafka_errors.IllegalGenerationError,
    kafka_errors.UnknownMemberIdError,
    kafka_errors.FencedInstanceIdError,
)
"""A commit that fails so comes from a member the group no longer counts in."""

_HOPELESS: Final = (
    kafka_errors.AuthorizationError,
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.KafkaConfigurationError,
    kafka_errors.IllegalStateError,
)
"""Errors that no second poll will mend."""


def demand(settings: KafkaSettings, topics: Sequence[str]) -> None:
    """Say so where a topic is missing; a consumer of its own would wait for it forever."""
    with admin(settings, f"read {', '.join(topics)}", "Read") as client:
        states = client.describe_topics(list(topics))
        if hidden := {one["name"] for one in states if one["error_code"] == DENIED}:
            raise denied(hidden)
    found = {one["name"] for one in states if one["partitions"]}
    for topic in topics:
        if topic not in found:
            raise BrokerError(
                f"Kafka at {settings.bootstrap} has no topic {topic}",
                "`rillet init --topics` makes the topics",
            )


class KafkaSource:
    """One member of a consumer group; keeps the contract of :class:`stream.records.Source`.

    Parameters
    ----------
    settings
        Where Kafka is.
    topics
        What to read; they must exist.
    group
        The consumer group.

    Raises
    ------
    BrokerError
        Kafka cannot be reached, or lacks a topic.
    """

    def __init__(self, settings: KafkaSettings, topics: Sequence[str], group: str) -> None:
        self.group = group
        self._settings = settings
        self._on_assigned: Listener = lambda places: None
        self._on_revoked: Listener = lambda places: None
        self._next: dict[TopicPartition, int] = {}
        self._failing_since: float | None = None
        self._sharing = SHARING[settings.assignment]()
        session_ms = int(settings.session_s * 1000)
        demand(settings, topics)
        options = {
            "group_id": group,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "allow_auto_create_topics": False,
            "session_timeout_ms": session_ms,
            # Members learn from a heartbeat's answer that partitions are to move.
            "heartbeat_interval_ms": min(1000, session_ms // 3),
            "partition_assignment_strategy": [self._sharing],
            "metrics_enabled": False,
        }
        with explained(settings, f"read {', '.join(topics)}", "Read"), waiting(settings):
            self._consumer = KafkaConsumer(**connection(settings), **options)
            self._consumer.subscribe(list(topics), listener=_Rebalance(self))
            # Asking for offsets waits until the topics are known. A member that joins before,
            # and leads the group, shares out nothing, and may not notice for minutes.
            self._consumer.beginning_offsets(
                [Place(topic, 0) for topic in topics], timeout_ms=self._patience_ms
            )

    def listen(self, on_assigned: Listener, on_revoked: Listener) -> None:
        """Name who is told of gained and lost partitions; see :class:`stream.records.Source`."""
        self._on_assigned, self._on_revoked = on_assigned, on_revoked

    def poll(self, max_records: int, wait_ms: int) -> list[Record]:
        """Return up to ``max_records``, [] after ``wait_ms``.

        Errors of a rebalance or a restarting broker are waited out for
        ``kafka.timeout_s``.

        Raises
        ------
        BrokerError
            They last longer, or waiting cannot help.
        """
        try:
            found = self._consumer.poll(timeout_ms=wait_ms, max_records=max_records)
        except kafka_errors.KafkaError as error:
            self._bear(error)
            return []
        self._failing_since = None
        records: list[Record] = []
        for place, batch in found.items():
            records += [
                Record(one.topic, one.partition, one.offset, one.key, *body(one)) for one in batch
            ]
            self._next[TopicPartition(*place)] = batch[-1].offset + 1
        return records

    def _bear(self, error: Exception) -> None:
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        patience = self._settings.timeout_s
        if isinstance(error, _HOPELESS) or now - self._failing_since > patience:
            with explained(
                self._settings, f"read as {self.group} {_places(self._next)}".strip(), "Read"
            ):
                raise error
        log.warning("poll of %s: %s; trying again", self.group, error)
        time.sleep(0.1)  # an error that comes back at once must not burn a core

    def _gain(self, places: Iterable[Place]) -> None:
        gained = [TopicPartition(*place) for place in places]
        self.pause(gained)
        if gained:
            self._on_assigned(gained)

    def _lose(self, places: Iterable[Place]) -> None:
        lost = [TopicPartition(*place) for place in places]
        for place in lost:
            self._next.pop(place, None)
        if lost:
            self._on_revoked(lost)

    def _sleep_through(self, places: Iterable[Place]) -> None:
        if isinstance(self._sharing, CooperativeSticky):
            self._sharing.forget()
        self._lose(places)

    def assignment(self) -> frozenset[TopicPartition]:
        """Return the partitions this member owns now."""
        return frozenset(TopicPartition(*place) for place in self._consumer.assignment())

    def seek(self, place: TopicPartition, offset: int) -> None:
        """Read ``offset`` next."""
        with explained(self._settings, f"seek {place} to {offset}"):
            self._consumer.seek(Place(*place), offset)
        self._next[place] = offset

    def pause(self, places: Iterable[TopicPartition]) -> None:
        """Read nothing of these until they are resumed."""
        self._consumer.pause(*self._owned(places))

    def resume(self, places: Iterable[TopicPartition]) -> None:
        """Read these again."""
        self._consumer.resume(*self._owned(places))

    def _owned(self, places: Iterable[TopicPartition]) -> list[Place]:
        mine = self._consumer.assignment()
        return [one for place in places if (one := Place(*place)) in mine]

    def committed(self, place: TopicPartition) -> int | None:
        """Return the group's committed offset, None where there is none."""
        with explained(self._settings, f"ask for the position of {self.group} in {place}", "Read"):
            offset = self._consumer.committed(Place(*place), timeout_ms=self._patience_ms)
        return None if offset is None else int(offset)

    def commit(self, positions: Mapping[TopicPartition, int]) -> bool:
        """Commit next-to-read offsets, synchronously; False where the group has moved on."""
        offsets = {Place(*place): OffsetAndMetadata(at, "", -1) for place, at in positions.items()}
        with explained(self._settings, f"commit {_places(positions)} of {self.group}", "Read"):
            try:
                self._consumer.commit(offsets, timeout_ms=self._patience_ms)
            except _MOVED_ON as error:
                log.warning("commit of %s refused: %s", self.group, error)
                return False
        return True

    def beginning(self, place: TopicPartition) -> int:
        """Return the offset of the oldest record kept."""
        return self._offset("beginning", self._consumer.beginning_offsets, place)

    def end(self, place: TopicPartition) -> int:
        """Return the offset the next record will get."""
        return self._offset("end", self._consumer.end_offsets, place)

    def _offset(self, which: str, ask: Callable[..., Any], place: TopicPartition) -> int:
        with explained(self._settings, f"find the {which} of {place}"):
            return int(ask([Place(*place)], timeout_ms=self._patience_ms)[Place(*place)])

    @property
    def _patience_ms(self) -> int:
        return int(self._settings.timeout_s * 1000)

    def lags(self) -> dict[TopicPartition, int]:
        """Return how many records of each partition wait, as of the brokers' last answers."""
        waiting = {}
        for place in self._owned(self._next):
            high = self._consumer.highwater(place)
            if high is not None:
                mine = TopicPartition(*place)
                waiting[mine] = max(0, high - self._next[mine])
        return waiting

    def close(self) -> None:
        """Leave the group; nothing is committed by it."""
        with explained(self._settings, f"leave {self.group}"):
            self._consumer.close(autocommit=False)


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, source: KafkaSource) -> None:
        self._source = source

    def on_partitions_assigned(self, assigned: Iterable[Place]) -> None:
        self._source._gain(assigned)

    def on_partitions_revoked(self, revoked: Iterable[Place]) -> None:
        self._source._lose(revoked)

    def on_partitions_lost(self, lost: Iterable[Place]) -> None:
        self._source._sleep_through(lost)


def body(record: Any) -> tuple[bytes, int, tuple[tuple[str, bytes], ...]]:
    """Return a record's value, time in epoch milliseconds, and headers."""
    # A compacted topic's tombstone has no value; it is a record like others, of no bytes.
    return record.value or b"", record.timestamp, tuple(record.headers)


def _places(positions: Mapping[TopicPartition, int]) -> str:
    return ", ".join(f"{place}@{at}" for place, at in sorted(positions.items()))


class KafkaSink:
    """Sends records, idempotently and to all replicas; see :class:`stream.records.Sink`.

    Raises
    ------
    BrokerError
        Kafka cannot be reached.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._failed: BrokerError | None = None
        self._refused: list[Outgoing] = []
        compression = None if settings.compression == "none" else settings.compression
        options = {
            "enable_idempotence": True,
            "acks": "all",
            "linger_ms": settings.linger_ms,
            "batch_size": 256 * 1024,
            "compression_type": compression,
            "delivery_timeout_ms": int(DELIVERY_S * 1000),
            # Refused here, an oversize record spoils nothing; refused by the broker it
            # leaves an idempotent producer unusable.
            "max_request_size": settings.max_record_bytes,
            "max_block_ms": int(settings.timeout_s * 1000),
            "allow_auto_create_topics": False,
            "metrics_enabled": False,
        }
        with explained(settings, "connect a producer"), waiting(settings):
            # Until it is connected it works in the thread that makes it, and swallows interrupts.
            make = partial(KafkaProducer, **connection(settings), **options)
            self._producer: Any = aside(make)

    def send(self, record: Outgoing) -> None:
        """Hand a record over; what becomes of it :meth:`flush` tells.

        Raises
        ------
        NotTakenError
            It is longer than ``kafka.max_record_bytes``, with its key and what is around it.
        """
        try:
            self._producer.send(
                record.topic,
                value=record.value,
                key=record.key,
                partition=record.partition,
                headers=list(record.headers),
            ).add_errback(self._note, record)
        except kafka_errors.MessageSizeTooLargeError as error:
            found = ours(self._settings, f"send to {record.topic}", error, "Write")
            raise NotTakenError(str(found), found.mend, [record]) from error
        except FOREIGN as error:
            raise ours(self._settings, f"send to {record.topic}", error, "Write") from error

    def _note(self, record: Outgoing, error: Exception) -> None:
        self._refused.append(record)
        if self._failed is not None:
            return
        if "AuthorizationFailed" in f"{type(error).__name__} {error}":
            # An idempotent producer that may write nowhere is told of the cluster, in words.
            what = f"send to {record.topic}"
            self._failed = ours(self._settings, what, denied({record.topic}), "Write")
        else:
            size = f"{len(record.value)} bytes"  # and not its key, which names a user
            message = f"Kafka refused a record for {record.topic} ({size}): {error}"
            self._failed = BrokerError(message, mend(error))
        self._failed.__cause__ = error

    def flush(self, timeout_s: float = DELIVERY_S) -> None:
        """Wait until everything sent is stored by all replicas in sync.

        Raises
        ------
        NotTakenError
            All are but some records.
        BrokerError
            The time is up.
        """
        with explained(self._settings, "flush", "Write"):
            self._producer.flush(timeout=timeout_s)
        failed, self._failed = self._failed, None
        refused, self._refused = self._refused, []
        if failed is not None:
            raise NotTakenError(str(failed), failed.mend, refused) from failed.__cause__

    def close(self) -> None:
        """Flush for a moment and end."""
        with explained(self._settings, "close a producer"):
            self._producer.close(timeout=5)
