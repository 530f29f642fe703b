"""The HTTP service while Kafka goes away and comes back: what was accepted is there, once."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx2
import pytest
from kafka.consumer import KafkaConsumer  # type: ignore[import-untyped]
from kafka.structs import TopicPartition  # type: ignore[import-untyped]

from tests.faults.servers import Kafka, free_ports
from tests.integration.live import Rillet, Start, eventually

KAFKA_S = 2.0
"""How long the service waits for Kafka."""

PARTITIONS = 2


@pytest.fixture
def own_kafka(tmp_path: Path, variables: dict[str, str]) -> Iterator[Kafka]:
    """A broker that may be stopped; whatever the test starts is told of it."""
    kafka = Kafka(tmp_path / "kafka", free_ports(4))
    variables["RILLET_KAFKA__BOOTSTRAP"] = kafka.address
    variables["RILLET_KAFKA__PARTITIONS"] = str(PARTITIONS)
    variables["RILLET_SERVE__KAFKA_S"] = str(KAFKA_S)
    yield kafka
    kafka.stop(kill=True)


@pytest.fixture
def client(own_kafka: Kafka, rillet: Rillet, start: Start) -> Iterator[httpx2.Client]:
    """A client of the service, which has its topics at that broker."""
    assert rillet("init", "--topics").returncode == 0
    running = start("serve", "--port", "0", "--json", "--no-search")

    def url() -> str:
        lines = [line for line in running.said().splitlines() if line.startswith("{")]
        return str(json.loads(lines[0])["url"]) if lines else ""

    with httpx2.Client(base_url=eventually(url, running.said), timeout=30) as one:
        yield one


def stored(address: str, topic: str) -> Counter[str]:
    """Return how often each event lies in a topic, by its id."""
    consumer = KafkaConsumer(
        bootstrap_servers=address, auto_offset_reset="earliest", metrics_enabled=False
    )
    found: Counter[str] = Counter()
    try:
        parts = [TopicPartition(topic, at) for at in range(PARTITIONS)]
        consumer.assign(parts)
        ends = consumer.end_offsets(parts)
        while any(consumer.position(one) < ends[one] for one in parts):
            for batch in consumer.poll(timeout_ms=500).values():
                found.update(json.loads(record.value)["id"] for record in batch)
    finally:
        consumer.close()
    return found


def test_what_was_accepted_around_an_outage_of_kafka_is_stored_once(
    client: httpx2.Client, own_kafka: Kafka, variables: dict[str, str]
) -> None:
    accepted: list[str] = []

    def send(name: str) -> httpx2.Response:
        event = {"event": "search", "user": "u", "query": "rug", "id": name}
        answer = client.post("/feedback", json=event)
        if answer.status_code == 200:
            accepted.append(name)
        return answer

    for number in range(5):
        assert send(f"before{number}").status_code == 200
    own_kafka.stop(kill=True)
    began = time.perf_counter()
    told = send("meanwhile")
    assert (told.status_code, told.json()["kind"]) == (503, "kafka-away")
    assert time.perf_counter() - began < 3 * KAFKA_S + 5
    assert told.headers["retry-after"]
    eventually(lambda: not client.get("/ready").json()["kafka"], lambda: "/ready says it is there")
    assert client.get("/health").status_code == 200
    own_kafka.start()
    tries = count()
    eventually(lambda: send(f"again{next(tries)}").status_code == 200, lambda: "still away")
    eventually(lambda: client.get("/ready").json()["kafka"], lambda: client.get("/ready").text)
    assert send("after").status_code == 200
    times = stored(own_kafka.address, variables["RILLET_KAFKA__EVENTS"])
    assert [times[name] for name in accepted] == [1] * len(accepted)
