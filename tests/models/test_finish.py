from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.finish import best_of_each, diversify, give_slots, log_sums
from models.pairs import Pairs
from tests.builders import unit

I32 = NDArray[np.int32]

scored = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 12), st.integers(-3, 3)),
    max_size=40,
    unique_by=lambda entry: entry[:2],
).map(sorted)


def pairs_of(entries: list[tuple[int, int, int]]) -> tuple[Pairs, NDArray[np.float64]]:
    table = np.array(entries, dtype=np.int32).reshape(-1, 3)
    return Pairs(table[:, 0], table[:, 1]), table[:, 2].astype(np.float64)


@settings(deadline=None)
@given(scored, st.integers(1, 6))
def test_best_of_each_equals_a_loop(entries: list[tuple[int, int, int]], n: int) -> None:
    pairs, scores = pairs_of(entries)
    place = best_of_each(pairs, scores, 5, n)
    assert place.shape == (5, n)
    for row in range(5):
        mine = sorted((-score, item) for its_row, item, score in entries if its_row == row)[:n]
        expected = [its_item for _, its_item in mine]
        found = place[row, : len(expected)]
        assert pairs.item[found].tolist() == expected
        assert place[row, len(expected) :].tolist() == [-1] * (n - len(expected))
        assert set(pairs.row[found].tolist()) <= {row}


def test_scores_that_differ_in_the_last_digits_alone_go_as_they_stand() -> None:
    pairs, _ = pairs_of([(0, 3, 0), (0, 5, 0), (0, 8, 0)])
    assert best_of_each(pairs, np.array([1.0, 1.0 + 1e-12, 1.0 + 1e-6]), 1, 3).tolist() == [
        [2, 0, 1]
    ]


@settings(deadline=None)
@given(scored)
def test_log_sums_equal_a_loop(entries: list[tuple[int, int, int]]) -> None:
    pairs, scores = pairs_of(entries)
    expected = [
        float(np.logaddexp.reduce([score for its_row, _, score in entries if its_row == row]))
        for row in range(5)
    ]
    assert log_sums(pairs, scores, 5) == pytest.approx(np.array(expected), rel=1e-12, abs=1e-12)


def test_log_sums_of_extreme_scores_stay_finite() -> None:
    pairs, _ = pairs_of([(0, 1, 0), (0, 2, 0), (2, 1, 0), (2, 2, 0)])
    found = log_sums(pairs, np.array([5000.0, 5000.0, -5000.0, -9000.0]), 3)
    assert found.tolist() == [pytest.approx(5000 + np.log(2), rel=1e-12), -np.inf, -5000]


def lists(*rows: list[int]) -> I32:
    return np.array(rows, dtype=np.int32)


VECTORS = np.stack([unit(1, 0), unit(1, 0.01), unit(0, 1), unit(1, -0.2), np.zeros(2, np.float32)])


def reordered(item: I32, scores: list[list[float]], strength: float) -> list[list[int]]:
    order = diversify(item, np.array(scores, np.float32), VECTORS, strength)
    assert (np.sort(order, axis=1) == np.arange(item.shape[1])).all()
    return np.take_along_axis(item, order, axis=1).tolist()  # type: ignore[no-any-return]


def test_without_strength_the_order_stays() -> None:
    item = lists([3, 1, 0, 2], [0, 1, -1, -1])
    assert reordered(item, [[4, 3, 2, 1], [2, 1, 0, 0]], 0.0) == item.tolist()


def test_a_near_duplicate_comes_later() -> None:
    assert reordered(lists([0, 1, 2]), [[3.0, 2.9, 1.0]], 1.0) == [[0, 2, 1]]
    assert reordered(lists([0, 1, 2]), [[3.0, 2.9, 1.0]], 0.6) == [[0, 2, 1]]
    assert reordered(lists([0, 1, 2]), [[3.0, 2.9, 1.0]], 0.01) == [[0, 1, 2]]


def test_items_without_a_vector_are_like_nothing() -> None:
    assert reordered(lists([0, 1, 4]), [[3.0, 2.9, 1.0]], 1.0) == [[0, 4, 1]]


def test_short_lists_keep_their_end() -> None:
    item = lists([0, 1, 2, 3], [2, 0, -1, -1], [-1, -1, -1, -1])
    found = reordered(item, [[4, 3, 2, 1], [2, 1, 9, 9], [0, 0, 0, 0]], 0.9)
    assert sorted(found[0]) == [0, 1, 2, 3]
    assert found[1:] == item[1:].tolist()


def test_no_list_and_no_item_are_fine() -> None:
    nothing = np.zeros((0, 3), np.int32)
    assert diversify(nothing, np.zeros((0, 3), np.float32), VECTORS, 0.5).shape == (0, 3)
    empty = np.zeros((2, 0), np.int32)
    assert diversify(empty, np.zeros((2, 0), np.float32), VECTORS, 0.5).shape == (2, 0)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 70), st.floats(0, 1))
def test_diversity_shuffles_and_never_loses_an_item(seed: int, n: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(100, 4)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths = rng.integers(0, n + 1, 5)
    item = np.stack([rng.permutation(100)[:n] for _ in range(5)]).astype(np.int32)
    item[np.arange(n) >= lengths[:, None]] = -1
    scores = -np.sort(-rng.normal(size=(5, n)).astype(np.float32), axis=1)
    order = diversify(item, scores, vectors, strength)
    found = np.take_along_axis(item, order, axis=1)
    assert (np.sort(found, axis=1) == np.sort(item, axis=1)).all()
    for row, length in zip(found, lengths, strict=True):
        assert (row[:length] >= 0).all()
        assert (row[length:] == -1).all()
    if n > 20:
        full = lengths >= 20
        assert (found[full, 0] == item[full, 0]).all()


def explored(item: list[int], fresh: list[int], slots: int) -> list[int]:
    found = give_slots(lists(item), lists(fresh), slots, len(item))
    return found[0].tolist()  # type: ignore[no-any-return]


def finished(item: list[int], fresh: list[int], slots: int) -> list[int]:
    """Put explored items in the list's last slots, as the engine does."""
    found = explored(item, fresh, slots)
    tail = [new if new >= 0 else old for old, new in zip(item[-slots:], found, strict=True)]
    return item[:-slots] + tail


def test_the_last_slots_go_to_new_items_that_are_not_listed() -> None:
    assert explored([1, 2, 3, 4], [8, 9], 1) == [8]
    assert explored([1, 2, 3, 4], [8, 9], 2) == [8, 9]
    assert explored([8, 2, 3, 4], [8, 9], 1) == [9]


def test_slots_without_a_new_item_stay_as_they_were() -> None:
    assert explored([1, 2, 3, 4], [-1, -1], 2) == [-1, -1]
    assert explored([8, 2, 3, 4], [8, -1], 2) == [-1, -1]
    assert explored([1, 2, 3, 4], [8], 2) == [8, -1]
    assert explored([1, 2], [], 1) == [-1]
    assert give_slots(lists([1, 2]), lists([3]), 0, 2).shape == (1, 0)


@pytest.mark.parametrize("slots", [1, 2, 3])
@pytest.mark.parametrize("fresh", [[4], [3], [4, 3], [3, 9], [9, 4], [2, 9, 4], [9, 8, 7]])
def test_an_explored_item_never_stands_twice_in_a_list(slots: int, fresh: list[int]) -> None:
    found = finished([1, 2, 3, 4], fresh, slots)
    assert len(set(found)) == 4
    assert len(set(found) & set(fresh)) >= min(slots, len(fresh))
