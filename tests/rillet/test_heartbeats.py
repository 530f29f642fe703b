"""Who is alive, without walking through all of Redis each time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rillet.heartbeats import SCAN_S, Heartbeats
from rillet.pace import TIMES, Pace
from rillet.state import look
from stream.metrics import Heart
from stream.settings import Settings, load_settings
from stream.store import Store
from stream.writes import Plain


class Counting(Store):
    """Counts its walks through all keys."""

    walks = 0

    def _pages(self, head: str) -> Iterator[list[bytes]]:
        self.walks += 1
        return super()._pages(head)


@pytest.fixture
def settings() -> Settings:
    return load_settings(redis={"url": "embedded:"})


@pytest.fixture
def store(settings: Settings) -> Iterator[Counting]:
    made = Counting(settings.redis)
    yield made
    made.close()


def beat(store: Store, name: str) -> None:
    heart = Heart(name, f"rillet.{name}")
    store.write_plain([Plain(store.keys.heartbeat(heart.process), heart.pulse(1, {}, {}), 60_000)])


def test_names_are_looked_for_now_and_then(settings: Settings, store: Counting) -> None:
    now = [100.0]
    heartbeats = Heartbeats(clock=lambda: now[0])

    def alive() -> list[str]:
        state = look(settings, store, kafka=False, heartbeats=heartbeats)
        return [pulse.name for pulse in state.processes]

    beat(store, "personalize")
    assert alive() == ["personalize"]
    beat(store, "catalogue")
    assert [alive() for _ in range(20)] == [["personalize"]] * 20
    assert store.walks == 1
    now[0] += SCAN_S
    assert alive() == ["catalogue", "personalize"]
    assert store.walks == 2
    store.write_plain([Plain(store.keys.heartbeat(Heart("catalogue", "").process), None, 0)])
    assert alive() == ["personalize"]


def test_learners_are_found_by_partition(settings: Settings, store: Counting) -> None:
    learner = b'{"as_of": {"event_time": 5, "partition": 0}, "heads": {"next": {"examples": 7}}}'
    places = [0, 3, 64]
    store.write_plain([Plain(store.keys.learner(at), learner, 60_000) for at in places])
    blends = look(settings, store, kafka=False).blends
    assert [(one.partition, one.examples, one.event_time) for one in blends] == [
        (at, {"next": 7}, 5) for at in places
    ]
    assert store.walks == 1  # for heartbeats


def test_what_takes_long_is_done_more_rarely() -> None:
    now = [0.0]
    pace = Pace(2.0, clock=lambda: now[0])
    with pace.run():
        now[0] += 1.0
    now[0] += TIMES - 0.1
    assert not pace.due
    now[0] += 0.2
    assert pace.due
    with pytest.raises(ValueError, match="broken"), pace.run():
        raise ValueError("broken")
    assert pace.due
