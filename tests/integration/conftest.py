"""Tests against a real Kafka and a real Redis, which ``make test`` starts."""

from __future__ import annotations

import os
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream.settings import KafkaSettings, RedisSettings, Settings, load_settings
from stream.store import Store
from tests.integration.live import ENTER, Rillet, Running, Start
from tests.integration.redis_servers import RedisServer, cluster_of

KAFKA = os.environ.get("RILLET_TEST_KAFKA")
REDIS = os.environ.get("RILLET_TEST_REDIS")
# kafka-python leaves a socket to the collector where a connection ends while it is being made.
LEFT_OPEN = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)
_left_out: list[pytest.Item] = []


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    mine = [item for item in items if Path(__file__).parent in item.path.parents]
    for item in mine:
        item.add_marker(pytest.mark.integration)
        item.add_marker(LEFT_OPEN)
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


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[RedisServer]]:
    """A cluster of three masters."""
    servers = cluster_of(tmp_path_factory.mktemp("cluster"), 3, 0)
    yield servers
    for server in servers:
        server.end()


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


@pytest.fixture
def variables(unique: str) -> dict[str, str]:
    """What makes the command line use this test's topics, groups and keys."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}
    kafka = {name: f"{unique}.{name}" for name in ("events", "catalogue", "transitions")}
    ours = {f"RILLET_KAFKA__{name.upper()}": topic for name, topic in kafka.items()}
    return (
        clean
        | ours
        | {
            "RILLET_KAFKA__BOOTSTRAP": KAFKA or "",
            "RILLET_KAFKA__DEADLETTERS": f"{unique}.deadletters",
            "RILLET_KAFKA__GROUP": unique,
            "RILLET_KAFKA__SESSION_S": "6",
            "RILLET_KAFKA__PARTITIONS": "2",
            "RILLET_REDIS__URL": REDIS or "",
            "RILLET_REDIS__PREFIX": unique,
        }
    )


@pytest.fixture
def settings(variables: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in variables.items():
        if name.startswith("RILLET_"):
            monkeypatch.setenv(name, value)
    return load_settings()


@pytest.fixture
def rillet(variables: dict[str, str]) -> Rillet:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*ENTER, *arguments],
            capture_output=True,
            check=False,
            env=variables,
            text=True,
            timeout=100,
        )

    return run


@pytest.fixture
def start(variables: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    started: list[Running] = []

    def one(*arguments: str) -> Running:
        log = tmp_path / f"process{len(started)}.log"
        started.append(Running(arguments, variables, log))
        return started[-1]

    yield one
    for running in started:
        if running.process.poll() is None:
            running.process.terminate()
            running.process.wait(60)
