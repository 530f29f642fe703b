"""Tests against a real Kafka and a real Redis, which ``make test`` starts."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream.settings import KafkaSettings, RedisSettings
from stream.store import Store

KAFKA = os.environ.get("RILLET_TEST_KAFKA")
REDIS = os.environ.get("RILLET_TEST_REDIS")
_left_out: list[pytest.Item] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.integration)
    if mine and not (KAFKA and REDIS):
        items[:] = [item for item in items if item not in set(mine)]
        _left_out.extend(mine)
        config.hook.pytest_deselected(items=mine)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if _left_out:
        terminalreporter.write_line(
            f"{len(_left_out)} integration tests left out: RILLET_TEST_KAFKA and "
            "RILLET_TEST_REDIS are not set (`make test` sets them)",
            yellow=True,
        )


@pytest.fixture
def unique() -> str:
    """A name no other test has: topics, groups and keys begin with it."""
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def kafka_settings(unique: str) -> KafkaSettings:
    return KafkaSettings(
        bootstrap=KAFKA or "",
        events=f"{unique}.events",
        catalogue=f"{unique}.catalogue",
        transitions=f"{unique}.transitions",
        deadletters=f"{unique}.deadletters",
        group=unique,
        session_s=6,
    )


@pytest.fixture
def store(unique: str) -> Iterator[Store]:
    one = Store(RedisSettings(url=SecretStr(REDIS or ""), prefix=unique, retry_s=30))
    yield one
    one.close()
