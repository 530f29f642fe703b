"""What Kafka's errors become; no server is asked."""

from __future__ import annotations

import kafka.errors as kafka_errors  # type: ignore[import-untyped]
import pytest

from stream.errors import NotReadyError
from stream.kafka_client import ours
from stream.settings import KafkaSettings

SETTINGS = KafkaSettings(bootstrap="k:9092")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (kafka_errors.KafkaTimeoutError(), "KafkaTimeoutError: no answer in time"),
        (kafka_errors.KafkaTimeoutError(None), "KafkaTimeoutError: no answer in time"),
        (kafka_errors.KafkaTimeoutError("too slow"), "KafkaTimeoutError: too slow"),
        (AssertionError("odd"), "AssertionError: odd"),
    ],
)
def test_an_error_is_named_once_with_what_was_wanted(error: Exception, words: str) -> None:
    assert (
        str(ours(SETTINGS, "read a topic", error))
        == f"cannot read a topic at Kafka k:9092: {words}"
    )


def test_a_kafka_that_has_just_started_is_not_away() -> None:
    found = ours(SETTINGS, "ask", kafka_errors.CoordinatorNotAvailableError())
    assert isinstance(found, NotReadyError)
    assert "try again" in found.mend
