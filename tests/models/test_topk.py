from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from models.topk import GROUP, WIDE, best_first, top_k

F32 = NDArray[np.float32]

values = st.one_of(
    st.sampled_from([0.0, -0.0, 0.25, 0.5, -1.0]),
    st.floats(-1, 1, width=32, allow_subnormal=False),
)
tables = st.tuples(st.integers(0, 4), st.integers(0, 120)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=values, fill=st.just(0.0))
)


def by_sorting(scores: F32, k: int) -> NDArray[np.int32]:
    places = np.full((len(scores), k), -1, dtype=np.int32)
    for row, its in enumerate(scores):
        order = [int(place) for place in np.argsort(-its, kind="stable") if its[place] > 0][:k]
        places[row, : len(order)] = order
    return places


@settings(max_examples=200, deadline=None)
@given(tables, st.integers(1, 60))
def test_top_k_equals_sorting(scores: F32, k: int) -> None:
    assert top_k(scores, k).tolist() == by_sorting(scores, k).tolist()


def test_top_k_equals_sorting_on_large_tables() -> None:
    rng = np.random.default_rng(7)
    dense = rng.random((8, 5003), dtype=np.float32)
    sparse = np.where(rng.random(dense.shape) < 0.01, dense, 0).astype(np.float32)
    tied = np.round(dense, 2)
    for scores in (dense, sparse, tied, -dense, dense - 0.999):
        assert top_k(scores, 50).tolist() == by_sorting(scores, 50).tolist()


def kinds(n: int) -> dict[str, F32]:
    """Return tables of rows of n scores, of all sorts."""
    rng = np.random.default_rng(n)
    dense = rng.random((3, n), dtype=np.float32)
    last = np.zeros((3, n), np.float32)
    last[:, -3:] = [[1, 2, 3], [3, 2, 1], [1, 1, 1]]
    nothing = np.zeros((3, n), np.float32)
    return {
        "dense": dense,
        "of both signs": dense - np.float32(0.5),
        "few": np.where(dense > 0.995, dense, 0).astype(np.float32),
        "few distinct": np.ceil(dense * 3).astype(np.float32),
        "all equal": np.ones((3, n), np.float32),
        "at the end alone": last,
        "of one row alone": dense * np.array([[0], [1], [-1]], np.float32),
        "zeros": nothing,
        "zeros below zero": -nothing,
        "zeros of both signs": np.where(dense > 0.9, dense, np.where(dense > 0.5, -nothing, 0)),
        "below zero": -dense,
        "huge and tiny": np.where(dense > 0.5, dense * np.float32(1e38), dense * np.float32(1e-36)),
    }


LENGTHS = [3, GROUP, WIDE - 1, WIDE, WIDE + 1, WIDE + GROUP - 1, 2 * WIDE + 5]


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("kind", kinds(3))
def test_top_k_of_rows_of_any_length_equals_sorting(n: int, kind: str) -> None:
    scores = kinds(n)[kind]
    for k in (1, 2, 50, n // GROUP, n // GROUP + 1, n, n + 3):
        found = top_k(scores, max(k, 1))
        assert found.dtype == np.int32
        assert found.tolist() == by_sorting(scores, max(k, 1)).tolist()


@pytest.mark.parametrize("n", [40, WIDE + 40])
def test_equal_scores_go_by_place_however_long_the_row(n: int) -> None:
    scores = np.zeros((2, n), np.float32)
    scores[0, [n - 1, 3, 20, 7]] = [0.5, 0.5, 0.75, 0.5]
    scores[1] = 0.5
    assert top_k(scores, 4).tolist() == [[20, 3, 7, n - 1], [0, 1, 2, 3]]


@pytest.mark.parametrize("n", [40, WIDE + 40])
def test_no_score_above_zero_is_too_small_to_count(n: int) -> None:
    scores = np.zeros((1, n), np.float32)
    scores[0, [3, 30, 31]] = np.array([1, 3, 2], np.float32) * np.float32(1e-42)
    assert top_k(scores, 4).tolist() == [[30, 31, 3, -1]]


def test_rows_without_scores_have_no_best() -> None:
    assert top_k(np.zeros((2, 0), np.float32), 3).tolist() == [[-1] * 3] * 2
    assert top_k(np.zeros((0, 5), np.float32), 3).shape == (0, 3)


def test_the_scores_stay_as_they_were() -> None:
    for n in (40, WIDE):
        scores = kinds(n)["of both signs"]
        before = scores.copy()
        top_k(scores, 5), best_first(scores)
        assert np.array_equal(scores, before)


signed = st.one_of(
    st.sampled_from([0.0, -0.0, 0.25, -0.25, -np.inf, np.inf]), st.floats(width=32, allow_nan=False)
)
rows = st.tuples(st.integers(0, 4), st.integers(0, 60)).flatmap(
    lambda shape: arrays(np.float32, shape, elements=signed, fill=st.just(0.0))
)


def by_loop(scores: list[float]) -> list[int]:
    return sorted(range(len(scores)), key=lambda place: (-scores[place], place))


@settings(max_examples=200, deadline=None)
@given(rows)
def test_best_first_equals_sorting(scores: F32) -> None:
    expected = [by_loop(its) for its in scores.tolist()]
    found = best_first(scores)
    assert found.shape == scores.shape
    assert found.tolist() == expected


def test_best_first_takes_zeros_of_both_signs_for_equal() -> None:
    scores = np.array([[-0.0, 0.0, -0.0, 1e-45, -1e-45, -np.inf]], np.float32)
    assert best_first(scores).tolist() == [[3, 0, 1, 2, 4, 5]]


def test_best_first_of_long_rows_equals_sorting() -> None:
    scores = np.round(np.random.default_rng(2).normal(size=(3, 2 * WIDE)), 2).astype(np.float32)
    assert best_first(scores).tolist() == np.argsort(-scores, axis=1, kind="stable").tolist()
