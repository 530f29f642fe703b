from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from consumers.replay import Replay
from features.text import Encoder, load_encoder
from models.evaluation import Evaluation
from stream.events import Event
from stream.settings import Settings
from stream.store import Store
from tests.builders import write_log
from tests.consumers.small_log import BATCH, Result, Run, the_log

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
