"""Replays that train the Transformer on the way: what it learns helps from there on."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from consumers.replay import Replay, source_names
from features.text import Encoder
from models.engine import Chunk, Engine
from models.evaluation import Evaluation
from models.loaded import Loaded
from models.sources.transformer import Transformer
from models.steps import Taken
from stream.events import Event
from stream.settings import Settings
from stream.store import Store
from tests.builders import MINUTE, NOON, write_log
from tests.consumers.small_log import BATCH, Result, the_log

VISITS = 60
HALF = NOON + VISITS // 2 * 5 * MINUTE
SMALL = {"dim": 16, "layers": 1, "length": 8, "epochs": 6, "batch": 16, "learning_rate": 0.01}

Trained = Callable[..., Result]


@pytest.fixture(scope="module")
def trained(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Trained]:
    torch.set_num_threads(1)  # threads cost more than they bring where all is small
    server = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    stores, numbers = [server], itertools.count()

    def start(
        events: Sequence[Event],
        train_every: int,
        evaluation: Evaluation | None = None,
        **groups: Any,
    ) -> Result:
        redis = {"url": server.url, "prefix": f"trained{next(numbers)}"}
        options: dict[str, Any] = {"redis": redis, "batch": {"max_records": BATCH}}
        settings = Settings.model_validate(options | {"transformer": SMALL} | groups)
        path = write_log(tmp_path_factory.mktemp("log") / "events.jsonl", events)
        stores.append(Store(settings.redis))
        evaluation = evaluation or Evaluation(HALF, source_names(settings))
        replay = Replay(
            settings, stores[-1], encoder, evaluation=evaluation, train_every=train_every
        )
        replay.run(path)
        return Result(replay, stores[-1])

    yield start
    for store in reversed(stores):
        store.close()


@pytest.fixture(scope="module")
def usual(trained: Trained) -> Result:
    return trained(the_log(VISITS), 150)


def figures(result: Result) -> dict[str, Any]:
    assert result.replay.evaluation is not None
    return result.replay.evaluation.report()


def version(result: Result) -> str:
    found = [s for s in result.replay.personalize.engine.sources if isinstance(s, Transformer)]
    return found[0].version


def test_a_replay_trains_again_and_again_and_serves_the_last(usual: Result) -> None:
    tuned = usual.replay.tuned
    events = len(the_log(VISITS))
    assert len(tuned) == events // 150 >= 2
    assert version(usual) == f"replay-{len(tuned)}"
    counts = [one.interactions for one in tuned]
    assert counts == sorted(counts) and counts[0] < counts[-1]
    assert tuned[1].since_ms == tuned[0].until_ms + 1
    for one in tuned:
        assert len(one.trained.epochs) > 0


def assert_same(one: Result, other: Result, runs: int) -> None:
    """Check that the models of the first runs are the same."""
    for mine, its in zip(one.replay.tuned[:runs], other.replay.tuned[:runs], strict=True):
        same = its.model.state_dict()
        for name, tensor in mine.model.state_dict().items():
            assert torch.equal(tensor, same[name]), name


def test_a_model_knows_nothing_of_later_and_later_ones_leave_it_alone(
    trained: Trained, usual: Result
) -> None:
    begun = trained(the_log(VISITS)[:299], 150)
    assert len(begun.replay.tuned) == 1
    assert_same(begun, usual, 1)


def test_the_next_model_goes_on_from_the_last(usual: Result) -> None:
    first, second = (one.model.ids.detach().flatten() for one in usual.replay.tuned[:2])
    assert not torch.equal(first, second[: len(first)])
    assert float(torch.cosine_similarity(first, second[: len(first)], dim=0)) > 0.3


def test_a_trained_transformer_foretells_better_than_nothing(
    trained: Trained, usual: Result
) -> None:
    without = trained(the_log(VISITS), 0)
    assert version(without) == "" and not without.replay.tuned
    for mode in ("order", "strict"):
        mine, nothing = (figures(one)["next"][mode]["transformer"] for one in (usual, without))
        assert mine["n"] == nothing["n"] > 50
        assert mine["hr@10"] > 0.9  # of 16 items 8 are of the user's kind
        assert mine["mrr"] > nothing["mrr"] + 0.1


def test_the_same_log_gives_the_same_models_figures_and_bytes(
    trained: Trained, usual: Result
) -> None:
    again = trained(the_log(VISITS), 150)
    assert figures(again) == figures(usual)
    assert again.keys() == usual.keys()
    assert_same(again, usual, len(usual.replay.tuned))


def test_another_seed_gives_another_model(trained: Trained, usual: Result) -> None:
    other = trained(the_log(VISITS), 150, transformer=SMALL | {"seed": 1})
    one, two = (result.replay.tuned[0].model for result in (usual, other))
    assert not torch.equal(one.ids, two.ids)


def test_a_log_that_has_only_begun_is_no_reason_to_stop(
    trained: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    log = the_log(10)
    with caplog.at_level(logging.WARNING, "consumers.replay"):
        result = trained(log, 18)
    assert "too few to learn" in caplog.text
    assert 0 < len(result.replay.tuned) < len(log) // 18


class Stale(Evaluation):
    """Keeps how new the newest thing is that a question knows of its user."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(HALF, source_names(settings), stale=True)
        self.newest: dict[str, list[tuple[int, int]]] = {"strict": [], "order": [], "stale": []}

    def taken(self, engine: Engine, chunk: Chunk, taken: Sequence[Taken]) -> None:
        super().taken(engine, chunk, taken)
        contexts = chunk.retrieval.contexts
        for step in taken:
            row = step.question - chunk.first
            known = contexts.times[row][: contexts.length[row]]
            self.newest[step.mode].append((step.time, int(known.max(initial=0))))


def test_stale_users_are_known_as_they_were_at_the_last_training(trained: Trained) -> None:
    settings = Settings()
    result = trained(the_log(VISITS), 150, evaluation=Stale(settings))
    watcher = result.replay.evaluation
    assert isinstance(watcher, Stale)
    ends = [one.until_ms for one in result.replay.tuned]
    stale = watcher.newest["stale"]
    assert len(stale) > 50
    for time, newest in stale:
        assert newest <= max(end for end in ends if end <= time)
    assert any(newest for _, newest in stale)
    asked = [time for time, _ in stale]
    assert asked == [time for time, _ in watcher.newest["strict"]]
    assert asked == [time for time, _ in watcher.newest["order"]]
    assert min(asked) > min(ends)
    report = figures(result)["next"]
    assert report["stale"]["blend"]["n"] == len(stale)
    for name in ("blend", "transformer", "last"):
        assert report["stale"][name]["mrr"] != report["strict"][name]["mrr"]


def test_nothing_is_stale_where_that_is_not_asked_for(usual: Result) -> None:
    assert "stale" not in figures(usual)["next"]


@pytest.mark.parametrize(("serve", "dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_a_replay_logs_its_trainings_and_serves_as_the_settings_say(
    trained: Trained, tmp_path: Path, serve: str, dtype: torch.dtype
) -> None:
    more = {"logs": str(tmp_path), "serve": serve, "window": 5, "epochs": 1}
    result = trained(the_log(VISITS), 150, transformer=SMALL | more)
    assert len(list(tmp_path.iterdir())) == len(result.replay.tuned)
    (source,) = (s for s in result.replay.personalize.engine.sources if isinstance(s, Transformer))
    assert isinstance(source._loaded, Loaded)
    assert source._loaded.dtype == dtype
    assert source._loaded.window == 5
