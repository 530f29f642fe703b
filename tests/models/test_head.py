from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from river import linear_model, optim

from models.head import Head, HeadState
from stream.errors import ModelError

NAMES = ("near", "far", "price", "bias")
SEGMENTS = 3
Lesson = tuple[NDArray[np.float32], NDArray[np.int32], list[bool]]


def a_head(names: tuple[str, ...] = NAMES, **more: Any) -> Head:
    options: dict[str, Any] = {"learning_rate": 0.3, "l2": 1e-4, "prior": {"bias": -1.0}} | more
    return Head(names, segments=SEGMENTS, **options)


def a_lesson(seed: int, n: int = 60) -> Lesson:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, len(NAMES))).astype(np.float32)
    x[rng.random(x.shape) < 0.3] = 0
    x[:, -1] = 1
    segment = rng.integers(0, SEGMENTS, n).astype(np.int32)
    return x, segment, (x[:, 0] + rng.normal(size=n) > 0).tolist()


def chances(head: Head, x: NDArray[np.float32], segment: NDArray[np.int32]) -> list[float]:
    return [
        head.chance(row, group) for row, group in zip(x.tolist(), segment.tolist(), strict=True)
    ]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 0.1), st.floats(0.01, 1))
def test_one_product_scores_as_river_predicts(seed: int, l2: float, rate: float) -> None:
    head = a_head(l2=l2, learning_rate=rate)
    x, segment, y = a_lesson(seed)
    head.learn(x, segment, y, np.random.default_rng(seed).random(len(y)).tolist())
    scored = 1 / (1 + np.exp(-head.score(x, segment)))
    assert scored == pytest.approx(chances(head, x, segment), abs=1e-6)
    assert np.ptp(scored) > 0


@pytest.mark.parametrize("l2", [0.0, 0.02])
def test_it_learns_what_rivers_own_regression_learns_of_dictionaries(l2: float) -> None:
    head, (x, segment, y) = a_head(l2=l2, prior=None), a_lesson(7)
    w = np.random.default_rng(7).random(len(y)).tolist()
    river = linear_model.LogisticRegression(optim.AdaGrad(0.3), l2=l2, intercept_lr=0.0)
    for values, group, label, weight in zip(x.tolist(), segment.tolist(), y, w, strict=True):
        named = zip(NAMES, values, strict=True)
        one = {f"{own}{name}": v for name, v in named for own in ("", f"{group}|") if v}
        river.learn_one(one, label, w=weight)
    head.learn(x, segment, y, w)
    assert head.state().weights == pytest.approx(dict(river.weights), rel=1e-9)
    assert head.state().squares == pytest.approx(dict(river.optimizer.g2), rel=1e-9)


def test_segments_learn_apart_and_together() -> None:
    head = a_head(l2=0.0)
    x = np.ones((40, 4), np.float32)
    head.learn(x, np.zeros(40, np.int32), [True] * 40)
    taught, untaught = head.score(x[:2], np.array([0, 1], np.int32))
    before = a_head().score(x[:1], np.array([1], np.int32))[0]
    assert taught > untaught > before


def test_inputs_are_left_as_they_were() -> None:
    head, (x, segment, y) = a_head(), a_lesson(1)
    copies = x.copy(), segment.copy(), list(y)
    head.learn(x, segment, y)
    head.score(x, segment)
    assert np.array_equal(x, copies[0])
    assert np.array_equal(segment, copies[1])
    assert y == copies[2]


def test_prediction_before_learning_follows_the_prior() -> None:
    x, segment, _ = a_lesson(2)
    assert a_head().score(x, segment) == pytest.approx([-1.0] * len(x))
    assert a_head(prior=None).score(x, segment).tolist() == [0.0] * len(x)
    assert a_head(prior=None).chance(x[0].tolist(), 0) == 0.5


def test_order_of_features_is_irrelevant() -> None:
    x, segment, y = a_lesson(3)
    order = [2, 0, 3, 1]
    one, other = a_head(), a_head(tuple(NAMES[place] for place in order))
    one.learn(x, segment, y)
    other.learn(x[:, order], segment, y)
    assert other.score(x[:, order], segment) == pytest.approx(one.score(x, segment), abs=1e-9)
    assert np.allclose(other.matrix(), one.matrix()[:, order])


def test_restored_midstream_it_learns_as_if_unbroken() -> None:
    (x, segment, y), (x2, segment2, y2) = a_lesson(4), a_lesson(5)
    unbroken = a_head()
    unbroken.learn(x, segment, y)
    raw = msgspec.json.encode(unbroken.state())
    unbroken.learn(x2, segment2, y2)
    broken = a_head()
    broken.restore(msgspec.json.decode(raw, type=HeadState))
    broken.learn(x2, segment2, y2)
    assert msgspec.json.encode(broken.state()) == msgspec.json.encode(unbroken.state())
    assert broken.examples == len(y) + len(y2)


def test_restoring_replaces_what_was_learned() -> None:
    x, segment, y = a_lesson(4)
    empty, taught = a_head().state(), a_head()
    taught.learn(x, segment, y)
    taught.restore(empty)
    assert np.array_equal(taught.matrix(), a_head().matrix())


def test_checkpoint_with_unknown_features_is_refused() -> None:
    with pytest.raises(ModelError, match="gone"):
        a_head().restore(HeadState({"gone": 1.0}, {}, 3))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=4, max_size=4),
        min_size=1,
        max_size=10,
    ),
    st.booleans(),
)
def test_weights_stay_finite_whatever_comes(rows: list[list[float]], label: bool) -> None:
    head = a_head()
    x = np.array(rows, np.float32)
    segment = np.zeros(len(x), np.int32)
    for _ in range(3):
        head.learn(x, segment, [label] * len(x))
    assert np.isfinite(head.matrix()).all()
    assert np.isfinite(head.score(x, segment)).all()


def test_features_that_are_zero_teach_nothing_about_themselves() -> None:
    head = a_head(prior=None, l2=0.0)
    head.learn(np.array([[0, 1, 0, 1]] * 20, np.float32), np.zeros(20, np.int32), [True] * 20)
    assert not head.matrix()[:, [0, 2]].any()
    assert (head.matrix()[0, [1, 3]] > 0).all()


def a_chooser(**more: Any) -> Head:
    return a_head(prior={"near": 0.5}, choices=True, **more)


def test_a_choice_is_learned_by_the_gradient_of_its_likelihood() -> None:
    """One AdaGrad step on the numeric derivative of the loss, computed by hand."""
    head, rate = a_chooser(l2=0.0, learning_rate=0.1), 0.1
    x = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
    before = head.matrix()[1]

    def loss(weights: NDArray[np.float64]) -> float:
        odds = x @ weights
        return float(np.log(np.exp(odds).sum()) - odds[2])

    step = 1e-5 * np.eye(4)
    slope = np.array([(loss(before + d) - loss(before - d)) / 2e-5 for d in step])
    found = head.choose(x, 1, 2)
    assert found == pytest.approx(loss(before), abs=1e-6)
    # the shared weight and the segment's own both move by AdaGrad's first step
    assert head.matrix()[1] - before == pytest.approx(-2 * rate * np.sign(slope), abs=1e-3)
    assert head.matrix()[0] - a_chooser().matrix()[0] == pytest.approx(
        -rate * np.sign(slope), abs=1e-3
    )


def test_choices_are_learned() -> None:
    head, chance = a_chooser(), np.random.default_rng(1)
    losses = []
    for _ in range(400):
        x = chance.normal(size=(8, 4)).astype(np.float32)
        odds = 2 * x[:, 1] - x[:, 2]
        chances = np.exp(odds) / np.exp(odds).sum()
        losses.append(head.choose(x, 0, int(chance.choice(8, p=chances))))
    weights = head.matrix()[0]
    assert weights[:3] == pytest.approx([0, 2, -1], abs=0.4)
    assert np.mean(losses[-100:]) < 0.8 * np.log(8)
    assert head.examples == 400


def test_what_is_alike_in_all_candidates_is_not_learned_from() -> None:
    head = a_chooser(l2=0.0)
    x = np.ones((6, 4), np.float32)
    before = head.matrix()
    assert head.choose(x, 2, 3) == pytest.approx(np.log(6))
    assert np.array_equal(head.matrix(), before)
