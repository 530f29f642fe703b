"""A made-up shop that was replayed, its Redis, and the service over it."""

from __future__ import annotations

import gc
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from consumers.replay import Replay
from features.text import load_encoder
from rillet.serving.app import create_app
from rillet.serving.guard import new_key
from rillet.serving.ranker import Ranker
from rillet.simulate import Plan, World
from stream.settings import Settings, load_settings
from stream.store import Store
from tests.builders import write_log
from tests.serving.process import Serving

# kafka-python leaves a socket to the collector where a connection ends while it is being made.
LEFT_OPEN = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <socket.socket:pytest.PytestUnraisableExceptionWarning"
)
NOWHERE = "127.0.0.1:1"
WITHIN_S = 60

Open = Callable[..., TestClient]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(LEFT_OPEN)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis with the state of a shop in it."""
    log = tmp_path_factory.mktemp("shop") / "events.jsonl"
    write_log(log, World(Plan(seed=3, users=30, items=240, days=2)).events())
    with closing(Store(load_settings(redis={"url": "embedded:"}).redis)) as store:
        settings = load_settings(redis={"url": store.url})
        Replay(settings, store, load_encoder(settings.encoder)).run(log)
        yield store.url


@pytest.fixture(scope="session")
def store(redis_url: str) -> Iterator[Store]:
    one = Store(load_settings(redis={"url": redis_url}).redis)
    yield one
    one.close()


@pytest.fixture(scope="session")
def known(store: Store) -> str:
    """A user who has a list."""
    return min(name for name, _ in store.scan("recs") if name != "*default*")


def settings_of(redis_url: str, **serve: Any) -> Settings:
    kafka = {"bootstrap": NOWHERE}
    return load_settings(redis={"url": redis_url}, kafka=kafka, serve={"kafka_s": 1, **serve})


@pytest.fixture
def opened(redis_url: str) -> Iterator[Open]:
    """Starts an application over the shop, without search, and returns a client of it."""
    with ExitStack() as stack:

        def one(url: str = redis_url, **serve: Any) -> TestClient:
            app = create_app(settings_of(url, **serve))
            return stack.enter_context(TestClient(app, "http://127.0.0.1", False))

        yield one


@pytest.fixture
def client(opened: Open) -> TestClient:
    return opened()


@pytest.fixture(scope="module", autouse=True)
def left_to_the_collector() -> Iterator[None]:
    """Collect what is left open while it is known whose it is, and not in another's tests.

    A service freezes what is loaded, and with it what it has left open; and pytest would keep
    what kafka-python logs of its errors, whose frames hold sockets.
    """
    logger = logging.getLogger("kafka")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)
    gc.unfreeze()
    gc.collect()


@pytest.fixture(scope="module")
def searching(redis_url: str) -> Iterator[TestClient]:
    """A client of an application that searches and ranks."""
    settings = settings_of(redis_url)
    reading = Store(settings.redis)
    ranker = Ranker(settings, reading, encoder=load_encoder(settings.encoder))
    ranker.load()
    app = create_app(settings, ranker=ranker)
    with TestClient(app, "http://127.0.0.1", False) as one:
        yield one
    reading.close()


@pytest.fixture(scope="session")
def keys() -> dict[str, tuple[str, str]]:
    """Of each scope a key, and its setting."""
    return {scope: new_key([scope]) for scope in ("read", "write", "admin")}


@pytest.fixture
def serving(redis_url: str, tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """Starts `rillet serve` as a process of its own."""
    started: list[Serving] = []

    def one(*arguments: str, **variables: str) -> Serving:
        log = tmp_path / f"serve{len(started)}.log"
        started.append(Serving(redis_url, log, *arguments, **variables))
        return started[-1]

    yield one
    for process in started:
        process.end()


def eventually(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def problem(answer: httpx2.Response, status: int, kind: str) -> dict[str, Any]:
    """Check that an answer is this problem, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found: dict[str, Any] = answer.json()
    assert found["status"] == status
    assert found["kind"] == kind, found
    assert found["title"] and found["detail"] and found["type"] == "about:blank"
    return found
