"""The taste of one user: hand-computed cases and laws."""

import math

import numpy as np
import pytest

from features.card import AsOf, ItemCard
from features.catalogue import Catalogue
from features.shown import ShownBefore
from models.item_space import ItemSpace
from models.strength import residuals
from models.tastes import NUMBERS, RANK, SAME, START, TEXT, TOKENS, Differences, kernel, taste_of


def before(rows: list[int], taken: list[int], lists: list[int]) -> ShownBefore:
    positions = [lists[:k].count(name) for k, name in enumerate(lists)]
    return ShownBefore(
        rows=np.array(rows, dtype=np.int32),
        positions=np.array(positions, dtype=np.int32),
        taken=np.array(taken, dtype=np.bool_),
        lists=np.array(lists, dtype=np.int32),
    )


@pytest.fixture
def space() -> ItemSpace:
    """Return items 0-2 of kind red, 3-5 of kind blue, without numbers."""
    catalogue = Catalogue(dim=2)
    kinds = ["red"] * 3 + ["blue"] * 3
    cards = [
        ItemCard(AsOf(0, k, 0), f"item{k}", lists={"kind": [kind]}) for k, kind in enumerate(kinds)
    ]
    vectors = np.array([[1, 0]] * 3 + [[0, 1]] * 3, np.float32)
    catalogue.apply(cards, vectors)
    return ItemSpace(catalogue)


def test_the_kernel_adds_what_items_share(space: ItemSpace) -> None:
    items = space.describe(np.array([0, 1, 3, 0], dtype=np.int32))
    k = kernel(items, 1)
    alike = TEXT + TOKENS + NUMBERS
    assert k[0] == pytest.approx([alike, NUMBERS, alike + SAME])
    assert k[1:] == pytest.approx(k[1:].T)
    assert k[1, 0] == pytest.approx(alike + SAME)


def test_one_item_shown_before(space: ItemSpace) -> None:
    shown = before([0], [1], [0])
    items = space.describe(np.array([1, 3, 0], dtype=np.int32))
    taste = taste_of(2, items, np.zeros(3), shown, None)
    # a list of one item, taken: p = .98
    r, w = 0.02, 0.03
    inner = TEXT + TOKENS + NUMBERS + SAME + 1 / w
    expected = [(TEXT + TOKENS + NUMBERS) / inner * r / w, NUMBERS / inner * r / w]
    assert taste == pytest.approx(expected, rel=1e-4)


def test_who_takes_one_kind_gets_a_taste_for_it(space: ItemSpace) -> None:
    shown = before([0, 3, 4, 1], [1, 0, 0, 1], [0, 0, 1, 1])
    items = space.describe(np.array([2, 5, *shown.rows], dtype=np.int32))
    taste = taste_of(2, items, np.zeros(6), shown, None)
    assert taste[0] > 0 > taste[1]


def test_what_everybody_takes_says_less_of_a_taste(space: ItemSpace) -> None:
    shown = before([0, 3], [1, 0], [0, 0])
    items = space.describe(np.array([1, 0, 3], dtype=np.int32))
    surprising = taste_of(1, items, np.array([0.0, 0.0, 0.0]), shown, None)
    expected = taste_of(1, items, np.array([0.0, 3.0, -3.0]), shown, None)
    assert 0 < expected[0] < surprising[0]


def test_who_was_shown_nothing_has_no_taste(space: ItemSpace) -> None:
    items = space.describe(np.array([1, 2], dtype=np.int32))
    assert not taste_of(2, items, np.zeros(2), before([], [], []), None).any()


def test_learned_directions_add_to_the_taste(space: ItemSpace) -> None:
    shown = before([0, 3], [1, 0], [0, 0])
    items = space.describe(np.array([5, 0, 3], dtype=np.int32))
    plain = taste_of(1, items, np.zeros(3), shown, None)
    along = np.array([[2.0], [2.0], [-2.0]])
    assert taste_of(1, items, np.zeros(3), shown, along)[0] > plain[0] + 0.1


def test_directions_find_what_users_differ_in() -> None:
    rng = np.random.default_rng(0)
    differences, n = Differences(), 12
    for _ in range(START):
        sign = rng.choice([-1, 1])
        x = rng.normal(size=(2 * n, 8))
        odds = 2 * sign * x[:, 2] - 1
        taken = rng.random(2 * n) < 1 / (1 + np.exp(-odds))
        earlier = before([0] * n, taken[n:].tolist(), [0] * n)
        differences.learn(x, taken[:n], np.zeros(2 * n), earlier)
    assert differences.directions is not None
    assert differences.directions.shape == (8, RANK)
    covariance = differences.directions @ differences.directions.T
    assert np.argmax(np.diag(covariance)) == 2
    assert covariance[2, 2] > 5 * np.delete(np.diag(covariance), 2).max()


def test_a_change_of_scales_changes_no_covariance() -> None:
    rng = np.random.default_rng(2)
    differences, n = Differences(), 6
    for _ in range(START):
        x, taken = rng.normal(size=(2 * n, 6)), rng.random(2 * n) < 0.4
        differences.learn(
            x, taken[:n], np.zeros(2 * n), before([0] * n, taken[n:].tolist(), [0] * n)
        )
    x = rng.normal(size=(5, 6))
    assert differences.directions is not None
    old = x @ differences.directions
    turn = rng.normal(size=(4, 4))
    differences.carry(turn)
    scaled = x.copy()
    scaled[:, :4] = x[:, :4] @ np.linalg.inv(turn)
    new = scaled @ differences.directions
    assert new @ new.T == pytest.approx(old @ old.T)


def test_residuals_of_several_lists_are_those_of_each() -> None:
    eta, taken = np.array([0.5, -0.2, 1.0, 0.0]), np.array([True, False, False, True])
    both, _ = residuals(eta, taken, np.array([0, 0, 1, 1], dtype=np.int32))
    one = np.zeros(2, np.int32)
    assert both[:2] == pytest.approx(residuals(eta[:2], taken[:2], one)[0])
    assert both[2:] == pytest.approx(residuals(eta[2:], taken[2:], one)[0])
    # two items: the intercept makes p sum to .96 + .04, so a = -mean eta
    assert both[0] == pytest.approx(1 - 1 / (1 + math.exp(-0.35)), rel=1e-5)
