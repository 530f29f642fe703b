"""That Kafka is waited for is said, where it takes long and before it is given up."""

from __future__ import annotations

import time

import pytest

from stream import kafka_client
from stream.kafka_client import waiting
from stream.kafka_settings import KafkaSettings


@pytest.mark.parametrize(
    ("silent_s", "took_s", "told"), [(0.05, 0.5, True), (30, 0.1, False), (0.5, 0.01, False)]
)
def test_a_kafka_that_is_waited_for_is_named(
    silent_s: float,
    took_s: float,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not where it answers soon, nor where so little time is left that the error says it."""
    monkeypatch.setattr(kafka_client, "SILENT_S", silent_s)
    with waiting(KafkaSettings(bootstrap="somewhere:9092", timeout_s=20)):
        time.sleep(took_s)
    said = [line for line in caplog.messages if "does not answer yet" in line]
    assert bool(said) == told
    assert all("somewhere:9092" in line for line in said)
