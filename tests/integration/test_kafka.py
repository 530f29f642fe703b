from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from kafka.admin import (  # type: ignore[import-untyped]
    ConfigResource,
    ConfigResourceType,
)

from stream.errors import BrokerError, NotTakenError
from stream.kafka import KafkaSink, KafkaSource, admin
from stream.records import Outgoing
from stream.settings import KafkaSettings
from stream.topics import describe, ensure_topics, group_lag
from tests.contracts.pipe import PARTITIONS, Pipe, PipeContract, numbers


class TestKafka(PipeContract):
    @pytest.fixture
    def pipe(self, kafka_settings: KafkaSettings) -> Iterator[Pipe]:
        ensure_topics(kafka_settings)
        pipe = Pipe(
            kafka_settings.events,
            lambda: KafkaSource(kafka_settings, [kafka_settings.events], kafka_settings.group),
            lambda: KafkaSink(kafka_settings),
        )
        yield pipe
        pipe.close()


def test_topics_are_created_once_and_described(kafka_settings: KafkaSettings) -> None:
    missing = describe(kafka_settings)
    assert {topic.note for topic in missing.topics} == {"missing"}
    assert len(missing.brokers) == 1
    created = ensure_topics(kafka_settings)
    assert [(one.partitions, one.note) for one in created] == [(PARTITIONS, "created")] * 4
    again = ensure_topics(kafka_settings.model_copy(update={"partitions": 8}))
    assert [(one.partitions, one.note) for one in again] == [(PARTITIONS, "8 are set")] * 4


def test_the_catalogue_is_compacted(kafka_settings: KafkaSettings) -> None:
    ensure_topics(kafka_settings)
    topic = ConfigResource(ConfigResourceType.TOPIC, kafka_settings.catalogue)
    with admin(kafka_settings, "ask") as client:
        (found,) = client.describe_configs([topic])["topic"].values()
    assert found["cleanup.policy"]["value"] == "compact"


def test_lag_of_a_group_is_known_without_joining_it(kafka_settings: KafkaSettings) -> None:
    ensure_topics(kafka_settings)
    topic, group = kafka_settings.events, kafka_settings.group
    pipe = Pipe(
        topic,
        lambda: KafkaSource(kafka_settings, [topic], group),
        lambda: KafkaSink(kafka_settings),
    )
    pipe.send(numbers(10), key=lambda value: b"one")
    before = group_lag(kafka_settings, group, [topic])
    assert (sum(one.lag for one in before), before[0].position) == (10, None)
    source = pipe.joined()
    (place,) = [one.place for one in before if one.end]
    pipe.commit(source, {place: 7})
    after = {one.place: one for one in group_lag(kafka_settings, group, [topic])}
    assert (after[place].position, after[place].end, after[place].lag) == (7, 10, 3)
    pipe.close()


def test_a_missing_topic_is_named(kafka_settings: KafkaSettings) -> None:
    with pytest.raises(BrokerError, match=f"no topic {kafka_settings.events}") as caught:
        KafkaSource(kafka_settings, [kafka_settings.events], "group")
    assert "rillet init" in caught.value.mend


CONNECT = """
from stream.errors import BrokerError
from stream.kafka import KafkaSink, KafkaSource
from stream.settings import KafkaSettings

absent = KafkaSettings(bootstrap="127.0.0.1:1", timeout_s=1)
for connect in (lambda: KafkaSink(absent), lambda: KafkaSource(absent, ["x"], "group")):
    try:
        connect()
    except BrokerError as error:
        print(error, "|", error.mend)
"""


def test_an_absent_broker_is_named() -> None:
    # In a process of its own: kafka-python leaves a socket open where it cannot connect.
    command = [sys.executable, "-c", CONNECT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert len(lines) == 2, done.stderr
    assert all("127.0.0.1:1" in line and "kafka.bootstrap" in line for line in lines)


def test_an_oversize_record_is_refused_and_spoils_nothing(kafka_settings: KafkaSettings) -> None:
    ensure_topics(kafka_settings)
    sink = KafkaSink(kafka_settings)
    with pytest.raises(BrokerError, match=f"send to {kafka_settings.events}") as caught:
        sink.send(Outgoing(kafka_settings.events, os.urandom(1_500_000), b"key"))
    assert "kafka.max_record_bytes" in caught.value.mend
    sink.send(Outgoing(kafka_settings.events, b"small"))
    sink.flush()
    sink.close()


def test_a_record_the_broker_refuses_fails_the_flush(kafka_settings: KafkaSettings) -> None:
    ensure_topics(kafka_settings)
    sink = KafkaSink(kafka_settings.model_copy(update={"max_record_bytes": 4_000_000}))
    long = Outgoing(kafka_settings.events, os.urandom(1_500_000), b"the key")
    sink.send(long)
    sink.send(Outgoing(kafka_settings.catalogue, b"small"))
    with pytest.raises(NotTakenError, match=r"refused a record for .* \(1500000 bytes\)") as caught:
        sink.flush()
    assert caught.value.records[0] is long, "what fails with it comes after it"
    sink.close()
