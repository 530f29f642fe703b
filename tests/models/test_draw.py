from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.draw import chance


def drawn(seed: int, n: int) -> list[float]:
    return [chance(seed, (place % 4, place // 4)) for place in range(n)]


def test_chances_depend_on_seed_and_place_alone() -> None:
    assert drawn(3, 40) == drawn(3, 40)
    assert len(set(drawn(3, 400))) == 400
    assert set(drawn(4, 400)).isdisjoint(drawn(3, 400))


def test_chances_are_uniform_enough() -> None:
    counts, _ = np.histogram(drawn(0, 20_000), bins=50, range=(0, 1))
    chi_square = float(((counts - 400) ** 2 / 400).sum())
    assert chi_square < 100  # 49 degrees of freedom: beyond the 0.9999 quantile


def test_neighbouring_places_are_not_alike() -> None:
    chances = np.array(drawn(0, 2000))
    assert abs(float(np.corrcoef(chances[:-1], chances[1:])[0, 1])) < 0.1
    assert abs(float(np.corrcoef(chances[:-4], chances[4:])[0, 1])) < 0.1


@given(st.integers(0, 2**31), st.integers(0, 999), st.integers(0, 2**50))
def test_a_chance_lies_within_0_and_1(seed: int, partition: int, offset: int) -> None:
    found = chance(seed, (partition, offset))
    assert 0 <= found < 1
    assert found == chance(seed, (partition, offset))
