"""How models are examined, against ranks that can be told by hand.

Item k lies at the angle of k * k degrees, and a network without layers expects
what lies nearest to the last item: so ranks follow from squares.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from models.examine import Exam, marks_of, ranks
from models.sequence import SequenceModel
from models.training_data import Material
from tests.builders import MINUTE, NOON
from tests.models.planted import ITEMS, NO_QUERIES, columns, network

ALL = np.ones(ITEMS, np.bool_)


def angular() -> SequenceModel:
    model = network(layers=0, content=False)
    with torch.no_grad():
        for weights in (model.kind.weight, model.gap.weight, model.place.weight):
            weights.zero_()
        angle = torch.deg2rad(torch.arange(ITEMS) ** 2.0)
        model.ids[:, 0], model.ids[:, 1] = angle.cos(), angle.sin()
    return model


def rank_of(last: int, target: int, among: Sequence[int] = range(ITEMS)) -> int:
    """Return how many items lie nearer to the last one than the target does."""
    distance = abs(target**2 - last**2)
    return sum(abs(k**2 - last**2) < distance for k in among if k != target)


SEQUENCES = [[1, 2, 3], [5, 5], [9], [0, 11, 4, 4]]
PAIRS = [(1, 2), (2, 3), (5, 5), (0, 11), (11, 4), (4, 4)]


def exam(sequences: Sequence[Sequence[int]] = SEQUENCES, **more: Any) -> Exam:
    alive, wanted = more.pop("alive", ALL), more.pop("wanted", None)
    data = columns(sequences, **more)
    return Exam(
        Material(data, NO_QUERIES),
        np.ones(len(data), np.bool_) if wanted is None else wanted,
        alive,
    )


def found(one: Exam, model: SequenceModel | None = None) -> list[float]:
    rank = ranks(model or angular(), one.material, one.places(), one.alive)
    return [float(place) for place in rank]


def test_ranks_are_those_told_by_hand() -> None:
    told = [rank_of(last, target) for last, target in PAIRS]
    assert told == [2, 3, 0, 11, 7, 0]
    assert found(exam()) == told


def test_marks_are_those_of_the_ranks() -> None:
    marks = marks_of(np.array([0.0, 1.0, 2.0, 9.0, 9.5, 10.0, 500.0]))
    assert marks["hr@10"].tolist() == [1, 1, 1, 1, 1, 0, 0]
    gains = [1.0, 1 / math.log2(3), 0.5, 1 / math.log2(11), 1 / math.log2(11.5), 0.0, 0.0]
    assert marks["ndcg@10"] == pytest.approx(gains)


def test_marks_of_an_exam_are_in_the_order_of_its_questions() -> None:
    one = exam()
    marks, questions = one.marks(angular()), one.questions()
    assert questions.users.tolist() == [0, 0, 1, 3, 3, 3]
    assert marks["hr@10"].tolist() == [1, 1, 1, 0, 1, 1]
    assert marks["ndcg@10"] == pytest.approx([0.5, 1 / math.log2(5), 1, 0, 1 / math.log2(9), 1])


def test_only_what_is_wanted_and_has_something_before_is_asked() -> None:
    wanted = np.zeros(10, np.bool_)
    wanted[[0, 2, 5, 9]] = True  # two of them are their users' first
    one = exam(wanted=wanted)
    assert one.places().tolist() == [2, 9]
    assert found(one) == [3, 0]
    assert one.questions().users.tolist() == [0, 3]


def test_withdrawn_items_do_not_count() -> None:
    alive = ALL.copy()
    alive[[2, 10]] = False
    among = [k for k in range(ITEMS) if alive[k]]
    one = exam([[1, 3], [11, 4], [4, 2]], alive=alive)
    assert found(one)[:2] == [rank_of(1, 3, among), rank_of(11, 4, among)]
    assert found(exam([[1, 3], [11, 4]])) == [rank_of(1, 3), rank_of(11, 4)] == [3, 7]
    assert found(one)[:2] == [2, 6]
    assert found(one)[2] >= len(among)  # what is withdrawn itself comes after all others


def test_items_that_are_as_likely_share_the_middle_of_their_ranks() -> None:
    model = angular()
    with torch.no_grad():
        model.ids[6:] = model.ids[6]
    assert found(exam([[6, 9], [6, 6]]), model) == [2.5, 2.5]


def test_who_did_little_is_a_cold_user() -> None:
    one = exam([[1, 2, 3, 4, 5, 6, 7, 8], [1, 2]])
    groups = one.questions().groups
    assert groups["cold users"].tolist() == [True] * 4 + [False] * 3 + [True]


def test_what_was_not_taken_before_the_exam_is_a_cold_item() -> None:
    times = [[NOON + k * MINUTE for k in range(4)], [NOON + (k + 2) * MINUTE for k in range(3)]]
    wanted = np.array([False, False, True, True, False, True, True])
    one = exam([[1, 2, 3, 1], [4, 2, 3]], times=times, wanted=wanted)
    # the first question is of two minutes past noon: 1 and 2 were taken before it
    assert one.questions().groups["cold items"].tolist() == [True, False, False, True]


def test_every_group_has_one_truth_value_a_question() -> None:
    one = exam([[k % ITEMS for k in range(n)] for n in range(1, 12)])
    questions, marks = one.questions(), one.marks(network())
    sizes = {len(rows) for rows in questions.groups.values()}
    sizes |= {len(values) for values in marks.values()}
    assert sizes == {len(questions.users)} == {len(one.places())} == {55}


def test_of_many_questions_some_are_drawn_alike_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    every = exam([[k % ITEMS for k in range(n)] for n in range(1, 12)])
    marks = every.marks(angular())["ndcg@10"]
    place = {int(one): k for k, one in enumerate(every.places())}
    monkeypatch.setattr("models.examine.MOST", 20)
    places = every.places()
    assert len(places) == len(set(places.tolist())) == 20
    assert places.tolist() == sorted(places.tolist()) == every.places().tolist()
    assert len(every.questions().users) == 20
    assert every.marks(angular())["ndcg@10"].tolist() == [marks[place[int(one)]] for one in places]


def test_questions_asked_in_parts_are_answered_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    one = exam([[k * n % ITEMS for k in range(n)] for n in range(1, 12)])
    whole = found(one, network())
    monkeypatch.setattr("models.examine.AT_ONCE", 4)
    assert found(one, network()) == whole


def test_a_model_reads_as_many_interactions_as_it_can() -> None:
    model, items = network(length=3), [7, 1, 9, 2, 4, 8]
    times: NDArray[np.int64] = NOON + MINUTE * np.array([0, 1, 5, 6, 30, 31])
    long = exam([items], times=[times.tolist()])
    short = exam([items[2:]], times=[times[2:].tolist()])
    assert found(long, model)[-1] == found(short, model)[-1]
    assert len(found(long, model)) == 5


def test_later_interactions_are_hidden_from_a_model_that_is_asked_with_old_sequences() -> None:
    one = exam([[1, 2, 3, 4]])
    places = np.array([3])
    hidden = ranks(angular(), one.material, places, ALL, before_ms=NOON + MINUTE)
    assert hidden.tolist() == [rank_of(1, 4)]
    assert ranks(angular(), one.material, places, ALL).tolist() == [rank_of(3, 4)]


def test_an_exam_without_a_question_gives_no_marks() -> None:
    one = exam([[1], [2], [3]])
    questions, marks = one.questions(), one.marks(angular())
    assert len(questions.users) == len(questions.groups["cold items"]) == 0
    assert {name: len(values) for name, values in marks.items()} == {"ndcg@10": 0, "hr@10": 0}


def test_a_better_model_gets_better_marks() -> None:
    one = exam([[k, k, k] for k in range(ITEMS)])
    assert one.marks(angular())["ndcg@10"].mean() == 1
    assert one.marks(network())["ndcg@10"].mean() < 1
