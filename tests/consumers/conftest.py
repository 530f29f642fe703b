from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from consumers.replay import Replay
from features.text import Encoder, load_encoder
from models.evaluation import Evaluation
from stream import metrics
from stream.events import Event
from stream.settings import Settings
from stream.store import Store
from tests.builders import write_log
from tests.consumers.encoder_shop import EARLY, Shop
from tests.consumers.small_log import BATCH, Result, Run, the_log
from tests.tiny_encoder import make_encoder
from tests.tuned import WORDS

_prefixes = itertools.count()


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return load_encoder(Settings().encoder)


@pytest.fixture(scope="module")
def run(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    server = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    stores = [server]

    def start(
        events: Sequence[Event],
        *,
        partitions: int | dict[str, int] = 1,
        evaluation: Evaluation | None = None,
        **groups: Any,
    ) -> Result:
        redis = {"url": server.url, "prefix": f"replay{next(_prefixes)}"}
        options: dict[str, Any] = {"redis": redis, "batch": {"max_records": BATCH}} | groups
        settings = Settings.model_validate(options)
        path = write_log(tmp_path_factory.mktemp("log") / "events.jsonl", events)
        stores.append(Store(settings.redis))
        replay = Replay(settings, stores[-1], encoder, partitions=partitions, evaluation=evaluation)
        replay.run(path)
        return Result(replay, stores[-1])

    yield start
    for store in reversed(stores):
        store.close()


@pytest.fixture(scope="module")
def usual(run: Run) -> Result:
    return run(the_log())


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for another model before every batch."""
    monkeypatch.setattr("consumers.follower.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("consumers.follower.REGISTRY_EVERY_S", 0.0)
    metrics.reset()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store.url
    store.close()


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_encoder(tmp_path_factory.mktemp("encoder") / "tiny", WORDS)


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory, redis_url: str, tiny: Path) -> Iterator[Shop]:
    """A shop with an encoder that was tuned on the early events."""
    one = Shop(tmp_path_factory.mktemp("first"), redis_url, tiny)
    one.first = one.tune(EARLY)
    assert one.first.verdict.promote
    yield one
    one.store.close()


@pytest.fixture
def encoder_shop(tmp_path: Path, redis_url: str, tiny: Path) -> Iterator[Shop]:
    one = Shop(tmp_path, redis_url, tiny)
    metrics.reset()
    yield one
    one.store.close()
