from __future__ import annotations

import msgspec
import pytest

from stream import metrics
from stream.metrics import Heart, Pulse, Step
from stream.records import TopicPartition


@pytest.fixture(autouse=True)
def fresh() -> None:
    metrics.reset()


def test_steps_and_counters_add_up() -> None:
    for _ in range(20):
        with metrics.step("outer"), metrics.step("inner"), metrics.step("inner"):
            metrics.count("things", 2)
    figures = metrics.snapshot()
    assert (figures["outer"].count, figures["inner"].count) == (20, 40)
    assert figures["outer"].wall_us > 0
    assert figures["outer"].p50_us <= figures["outer"].p99_us
    assert metrics.counters() == {"things": 40}


def test_a_step_that_raises_is_counted() -> None:
    with pytest.raises(ValueError, match="no"), metrics.step("fails"):
        raise ValueError("no")
    assert metrics.snapshot()["fails"].count == 1


@pytest.mark.parametrize("ns", [1, 7, 8, 100, 12_345, 10**6, 10**9, 10**12])
def test_percentiles_are_right_to_a_bucket(ns: int) -> None:
    assert metrics._middle_ns(metrics._bucket(ns)) == pytest.approx(ns, rel=0.07, abs=0.5)


def test_a_step_that_never_ran_has_figures() -> None:
    assert Step().figures().p99_us == 0


def test_a_pulse_says_who_where_and_how_far() -> None:
    metrics.count("events", 5)
    heart = Heart("personalize", "rillet.personalize", every_s=0)
    assert heart.due()
    lags = {TopicPartition("events", 0): 3, TopicPartition("events", 1): 4}
    pulse = msgspec.json.decode(heart.pulse(5, lags, {"events[0]": 12}), type=Pulse)
    assert (pulse.name, pulse.lag, pulse.partitions) == ("personalize", 7, ["events[0]@12"])
    assert pulse.counters == {"events": 5}
    assert heart.process == f"personalize:{pulse.host}:{pulse.pid}"
