"""Predictions are made before they are learned from, and measured as they were made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from consumers.replay import source_names
from models.engine import Chunk, Engine
from models.evaluation import Evaluation, _blend_scores
from models.steps import Taken
from stream.events import Event
from stream.settings import Settings
from tests.builders import DAY, MINUTE, NOON, interaction, search
from tests.consumers.small_log import Run, the_items, the_log


class Watcher(Evaluation):
    """Keeps what every source, and the blend, said of an item before it was taken."""

    def __init__(self) -> None:
        super().__init__(0, source_names(Settings()))
        self.said: dict[tuple[int, str], tuple[str, NDArray[np.float32]]] = {}
        self.ranks: dict[str, list[int]] = {}
        self.newest: list[tuple[str, int, float]] = []
        self.queries: dict[tuple[int, str], str] = {}

    def taken(self, engine: Engine, chunk: Chunk, taken: Sequence[Taken]) -> None:
        super().taken(engine, chunk, taken)
        blend, _ = _blend_scores(engine, chunk)
        for step in taken:
            row = step.question - chunk.first
            found = range(len(chunk.retrieval.scores))
            tables = np.stack([blend[row], *(chunk.retrieval.table(s)[row] for s in found)])
            name = engine.world.catalogue.ids[step.item]
            self.said[step.place[1], step.mode] = (name, tables)
            contexts = chunk.retrieval.contexts
            self.queries[step.place[1], step.mode] = contexts.queries[row]
            age = contexts.age[row][: contexts.length[row]]
            self.newest.append((step.mode, int(contexts.length[row]), float(age.min(initial=9))))


def watched(run: Run, log: Sequence[Event], **groups: Any) -> Watcher:
    watcher = Watcher()
    run(log, evaluation=watcher, **groups)
    return watcher


def test_nothing_is_known_of_an_item_before_it_is_taken_first(run: Run) -> None:
    log = the_log(20)
    log.insert(len(log) - 30, interaction("ghost", int(log[-31].timestamp), "user1"))
    watcher = watched(run, log)
    ghosts = [tables for name, tables in watcher.said.values() if name == "ghost"]
    assert len(ghosts) == 2
    for tables in ghosts:
        row = tables.shape[1] - 1
        assert tables[0, row] == -np.inf
        assert (tables[1:, row] == 0).all()
        assert (tables[0] > -np.inf).any()


def test_a_prediction_does_not_depend_on_what_it_predicts(run: Run) -> None:
    log, at = the_log(12)[:-1], NOON + 3 * 60 * MINUTE
    one, other = (watched(run, [*log, interaction(name, at, "user1")]) for name in ("k2", "c5"))
    assert one.said.keys() == other.said.keys()
    last = max(one.said)
    assert (one.said[last][0], other.said[last][0]) == ("k2", "c5")
    for place in one.said:
        assert np.array_equal(one.said[place][1], other.said[place][1])


def a_page(n: int) -> list[Event]:
    at = NOON + n * DAY
    return [interaction(f"k{place}", at, "user1", type="purchase") for place in range(4)]


def test_strict_predictions_hide_what_happened_at_the_same_time(run: Run) -> None:
    log = [*the_items(), *a_page(0), *a_page(1)]
    watcher = watched(run, log)
    strict = [(length, age) for mode, length, age in watcher.newest if mode == "strict"]
    order = [(length, age) for mode, length, age in watcher.newest if mode == "order"]
    assert [length for length, _ in strict] == [0] * 4 + [4] * 4
    assert [length for length, _ in order] == list(range(8))
    assert all(age == 1 for length, age in strict if length)
    assert sum(age == 0 for length, age in order if length) == 6


def test_strict_predictions_hide_whatever_the_user_did_at_that_time(run: Run) -> None:
    at = NOON + DAY
    late: list[Event] = [interaction("k0", at + 5, "user1"), interaction("k1", at, "user1")]
    asked: list[Event] = [search("tea cup", at + 9, "user2"), interaction("k2", at + 9, "user2")]
    watcher = watched(run, [*the_items(), *late, *asked])
    strict = {place: one for place, one in zip(watcher.said, watcher.newest, strict=True)}
    places = sorted(offset for offset, mode in watcher.said if mode == "strict")
    assert [strict[place, "strict"][1] for place in places] == [0, 0, 0]
    assert [strict[place, "order"][1] for place in places] == [0, 1, 0]
    assert watcher.queries[places[-1], "order"] == "tea cup"
    assert watcher.queries[places[-1], "strict"] == ""


def test_an_evaluation_reports_every_source_of_both_kinds(run: Run) -> None:
    watcher = watched(run, the_log(30))
    report = watcher.report()
    names = ["blend", *source_names(Settings())]
    assert list(report["next"]["order"]) == names
    assert list(report["next"]["strict"]) == names
    assert {"shown", "blend"} <= set(report["rerank"])
    blend = report["next"]["order"]["blend"]
    assert blend["n"] == report["next"]["strict"]["blend"]["n"]
    assert 0 < blend["mrr"] <= blend["hr@10"] <= 1
    assert 0 < blend["coverage"] <= 1
    curve = report["over_time"]["order"]["blend"]
    assert len(curve["at"]) == len(curve["value"]) > 0
    popular = report["popularity"]["order"]
    assert popular["blend"]["novelty"] > 0
    assert sum(popular["blend"]["deciles"]) == pytest.approx(1)
    assert sum(popular["taken"]["deciles"]) == pytest.approx(1)
    assert blend["n"] == sum(b["n"] for b in report["by_history"]["order"]["blend"].values())
    assert report["rerank"]["blend"]["n"] == report["rerank"]["shown"]["n"] > 0


def test_a_share_is_drawn_alike_in_every_run_and_lists_are_all_measured() -> None:
    one, other = (Evaluation(50, ["a"], 0.25) for _ in range(2))
    places = [(0, offset) for offset in range(4000)]
    drawn = [one.watches(50, place) for place in places]
    assert drawn == [other.watches(99, place) for place in places]
    assert 900 < sum(drawn) < 1100
    assert not any(one.watches(49, place) for place in places)
    assert one.watches(50) and not one.watches(49)
    assert all(Evaluation(50, ["a"]).watches(50, place) for place in places)
