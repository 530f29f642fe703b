from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.draw import chance, draws


def places(n: int) -> NDArray[np.int64]:
    return np.array([(place % 4, place // 4) for place in range(n)], dtype=np.int64)


def test_draws_depend_on_seed_and_place_alone() -> None:
    where = places(40)
    first = draws(3, where, 5)
    order = np.random.default_rng(1).permutation(40)
    assert (draws(3, where[order], 5) == first[order]).all()
    assert (draws(3, where, 9)[:, :5] == first).all()
    assert len(np.unique(draws(4, where, 5))) == 200
    assert not np.isin(draws(4, where, 5), first).any()


def test_draws_are_uniform_enough() -> None:
    words = draws(0, places(5000), 4).ravel()
    counts = np.bincount((words % np.uint64(50)).astype(int), minlength=50)
    chi_square = float(((counts - 400) ** 2 / 400).sum())
    assert chi_square < 100  # 49 degrees of freedom: beyond the 0.9999 quantile


def test_neighbouring_places_are_not_alike() -> None:
    words = draws(0, places(2000), 1).ravel()
    chances = (words >> np.uint64(11)).astype(np.float64) / 2**53
    assert abs(float(np.corrcoef(chances[:-1], chances[1:])[0, 1])) < 0.1
    assert abs(float(np.corrcoef(chances[:-4], chances[4:])[0, 1])) < 0.1


@given(st.integers(0, 2**31), st.integers(0, 999), st.integers(0, 2**50))
def test_a_chance_lies_within_0_and_1(seed: int, partition: int, offset: int) -> None:
    found = chance(seed, (partition, offset))
    assert 0 <= found < 1
    assert found == chance(seed, (partition, offset))
