"""A member that sleeps through its session, and wakes while the group is being shared out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stream.settings import KafkaSettings
from stream.topics import ensure_topics
from tests.integration.live import eventually

ROOT = Path(__file__).resolve().parents[2]
PARTITIONS = 4
WITHIN_S = 30.0
"""Sessions last six seconds; what is shared out wrongly stays so for minutes."""


class Member:
    """A process that polls, and writes down what it has."""

    def __init__(self, settings: KafkaSettings, said: Path) -> None:
        given = settings.model_dump(mode="json", exclude_none=True)
        with said.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.integration.member", json.dumps(given)],
                cwd=ROOT,
                stdout=out,
                stderr=out,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
            )
        self._said = said

    def said(self) -> str:
        return self._said.read_text("utf-8")

    def held(self) -> list[int]:
        lines = [line for line in self.said().splitlines() if line.startswith("[")]
        found: list[int] = json.loads(lines[-1]) if lines else []
        return found


@pytest.fixture
def member(kafka_settings: KafkaSettings, tmp_path: Path) -> Iterator[Callable[[], Member]]:
    settings = kafka_settings.model_copy(
        update={"partitions": PARTITIONS, "assignment": "cooperative-sticky"}
    )
    ensure_topics(settings)
    members: list[Member] = []

    def start() -> Member:
        members.append(Member(settings, tmp_path / f"{len(members)}.log"))
        return members[-1]

    yield start
    for one in members:
        one.process.kill()
        one.process.wait()


def test_what_a_sleeper_has_lost_is_read_by_others(member: Callable[[], Member]) -> None:
    """It had everything; it wakes, and joins anew, while the group waits for a dead member."""
    sleeper = member()
    eventually(lambda: len(sleeper.held()) == PARTITIONS, sleeper.said)
    sleeper.process.send_signal(signal.SIGSTOP)
    heir = member()
    eventually(lambda: len(heir.held()) == PARTITIONS, heir.said)
    heir.process.kill()
    newcomer = member()
    time.sleep(2.0)  # it has asked to join, and is not answered before the heir's session ends
    sleeper.process.send_signal(signal.SIGCONT)
    eventually(lambda: not sleeper.held(), sleeper.said)

    def shared() -> bool:
        return sorted(sleeper.held() + newcomer.held()) == list(range(PARTITIONS))

    deadline = time.monotonic() + WITHIN_S
    while not shared():
        assert time.monotonic() < deadline, f"{sleeper.said()}\n{newcomer.said()}"
        time.sleep(0.1)
