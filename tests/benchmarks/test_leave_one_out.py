from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.leave_one_out import first_ones, leave_one_out, places_in, top_lists
from features.parts.base import Rules
from models.examine import marks_of, ranks
from models.interactions import Recorder
from models.sequence import SequenceConfig, SequenceModel
from models.training_data import Material
from stream.events import Interaction, Millis
from stream.settings import Settings

SETTINGS = Settings()
RULES = Rules(SETTINGS.session, SETTINGS.interactions)


def took(user: str, item: str, time: int, kind: str = "purchase") -> Interaction:
    return Interaction(
        id=f"{user}-{item}-{time}", timestamp=Millis(time), user=user, item=item, type=kind
    )


def test_only_the_first_positive_interaction_with_an_item_counts_in_the_order_of_time() -> None:
    log = [
        took("u", "b", 20),
        took("u", "a", 10),
        took("v", "a", 15),
        took("u", "a", 30),
        took("u", "c", 5, "return"),
        took("u", "d", 20),
    ]
    kept = [(one.user, one.item) for one in first_ones(log, RULES)]
    assert kept == [("u", "a"), ("v", "a"), ("u", "b"), ("u", "d")]


@pytest.mark.parametrize(("skip", "known", "asked"), [(0, ["a", "b"], ["c"]), (1, ["a"], ["b"])])
def test_the_last_one_is_asked_about_and_users_with_few_are_left_out(
    skip: int, known: list[str], asked: list[str]
) -> None:
    log = [took("u", "a", 1), took("v", "a", 2), took("u", "b", 3), took("v", "b", 4)]
    log.append(took("u", "c", 5))
    task = leave_one_out(log, 3, skip)
    assert [one.item for one in task.known] == known
    assert [one.item for one in task.asked] == asked


def test_places_are_counted_from_the_best_and_what_is_not_listed_has_none() -> None:
    lists = np.array([[4, 2, 9], [1, 3, -1], [7, 8, 9]])
    place = places_in(lists, np.array([9, 1, 0]))
    np.testing.assert_array_equal(place, [2, 0, np.inf])
    marks = marks_of(place)
    np.testing.assert_allclose(marks["ndcg@10"], [0.5, 1, 0])
    np.testing.assert_array_equal(marks["hr@10"], [1, 1, 0])


def test_lists_hold_the_best_items_that_the_user_has_not_had() -> None:
    items = {name: row for row, name in enumerate("abcdef")}
    recorder = Recorder(items.__getitem__, RULES)
    for time, (user, item) in enumerate([("u", "a"), ("u", "b"), ("v", "c"), ("u", "d")]):
        recorder.add(took(user, item, time))
    recorder.add(took("v", "a", 9))
    material = Material(recorder.columns(), np.zeros((0, 1), dtype=np.float32))
    torch.manual_seed(0)
    config = SequenceConfig(dim=8, length=4, content_dim=5, ids=False)
    model = SequenceModel(config, torch.randn(6, 5)).eval()
    lists = top_lists(model, material, np.array([2, 4]), 3)
    # u is asked about d, after a and b; v about a, after c: what is asked about may be listed.
    for row, (place, seen) in enumerate([(2, [0, 1]), (4, [2])]):
        unseen = np.setdiff1d(np.arange(6), seen)
        assert set(lists[row].tolist()) <= set(unseen.tolist())
        alive = np.isin(np.arange(6), unseen)
        (rank,) = ranks(model, material, np.array([place]), alive)
        (found,) = places_in(lists[[row]], material.data.item[[place]].astype(np.int64))
        assert found == (rank if rank < 3 else np.inf)
    full = top_lists(model, material, np.array([2]), 4)
    np.testing.assert_array_equal(full[0, :3], lists[0])
