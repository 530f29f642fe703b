"""Several processes in turns end in the states of one, and count the same lessons."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.fleet import CALM, DISTURBANCES, pauses
from benchmarks.sharing import Crowd
from consumers.replay import source_names
from features.text import load_encoder
from models.evaluation import Evaluation
from rillet.simulate import Plan, World
from stream.events import Identify
from stream.settings import Settings
from tests.builders import write_log

SETTINGS = Settings.model_validate(
    {"redis": {"url": "embedded:"}, "batch": {"max_records": 64}, "blend": {"share": 8}}
)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = World(Plan(seed=5, users=40, items=240, days=1))
    events = [event for event in world.events() if not isinstance(event, Identify)]
    return write_log(tmp_path_factory.mktemp("sharing") / "log.jsonl", events)


@pytest.mark.timeout(240)
def test_a_crowd_ends_in_the_states_of_one_and_counts_every_example_once(log: Path) -> None:
    found = []
    for processes in (1, 4):
        with ExitStack() as stack:
            evaluation = Evaluation(0, source_names(SETTINGS))
            encoder = load_encoder(SETTINGS.encoder)
            crowd = Crowd(SETTINGS, encoder, processes, 8, evaluation, stack)
            events = crowd.run(log, 0)
            learners = [one.learners for one in crowd.members]
            held = [sorted(one.held) for one in learners]
            taught = {p: one.held[p].heads["next"].examples for one in learners for p in one.held}
            states = dict(learners[0]._store.scan("session"))
            n = evaluation.report()["next"]["order"]["blend"]["n"]
            found.append((events, sorted(sum(held, [])), taught, states, n))
            assert all(held)
            assert len(learners) == processes
    assert found[0] == found[1]
    assert sum(found[0][2].values()) > 50
    assert len(found[0][3]) > 20


def test_pauses_are_told_by_disturbance() -> None:
    at = [float(n) for n in range(40)]
    delays: list[float | None] = [0.1] * 40
    delays[10], delays[21], delays[22] = 3.0, 9.0, None
    found = pauses(at, delays, [10.5, 20.5, 38.0], 9.0)
    assert list(found) == [CALM, *DISTURBANCES]
    assert found[CALM]["longest_s"] == 0.1
    assert found[DISTURBANCES[0]]["longest_s"] == 3.0
    assert found[DISTURBANCES[1]]["longest_s"] == 9.0
    assert found[DISTURBANCES[1]]["over_1s"] > 0
    assert sum(row["events"] for row in found.values()) == 39
