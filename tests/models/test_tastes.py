"""The taste of one user: hand-computed cases and laws."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from features.card import AsOf, ItemCard
from features.catalogue import Catalogue
from features.shown import ShownBefore
from models.cholesky import solve_lower
from models.differences import RANK, START, Differences
from models.item_space import ItemSpace
from models.kernel import NUMBERS, SAME, TEXT, TOKENS, Kernel
from models.laid import lay
from models.strength import residuals
from models.tastes import tastes_of

F64 = NDArray[np.float64]


def before(rows: list[int], taken: list[int], lists: list[int]) -> ShownBefore:
    positions = [lists[:k].count(name) for k, name in enumerate(lists)]
    return ShownBefore(
        rows=np.array(rows, dtype=np.int32),
        positions=np.array(positions, dtype=np.int32),
        taken=np.array(taken, dtype=np.bool_),
        lists=np.array(lists, dtype=np.int32),
    )


@pytest.fixture
def catalogue() -> Catalogue:
    """Return items 0-2 of kind red, 3-5 of kind blue, without numbers."""
    catalogue = Catalogue(dim=2)
    kinds = ["red"] * 3 + ["blue"] * 3
    cards = [
        ItemCard(AsOf(0, k, 0), f"item{k}", lists={"kind": [kind]}) for k, kind in enumerate(kinds)
    ]
    vectors = np.array([[1, 0]] * 3 + [[0, 1]] * 3, np.float32)
    catalogue.apply(cards, vectors)
    return catalogue


def taste_of(
    catalogue: Catalogue,
    now: list[int],
    shown: ShownBefore,
    strengths: dict[int, float] | None = None,
    along: F64 | None = None,
) -> F64:
    """Return one user's taste for the items shown now, given the strengths of some rows."""
    laid = lay([(np.array(now, dtype=np.int32), shown)])
    items = ItemSpace(catalogue).describe(laid.rows)
    f = np.array([(strengths or {}).get(row, 0.0) for row in laid.rows.tolist()])
    return tastes_of(laid, items, f, catalogue.vectors, along).taste


def test_the_kernel_adds_what_items_share(catalogue: Catalogue) -> None:
    rows = np.array([0, 1, 3], dtype=np.int32)
    items = ItemSpace(catalogue).describe(rows)
    kernel = Kernel(np.array([[0, 1, 2, 0]]), 1, items, catalogue.vectors, None)
    k, inner = kernel.across()[0], kernel.within()[0]
    alike = TEXT + TOKENS + NUMBERS
    assert k[0] == pytest.approx([alike, NUMBERS, alike + SAME])
    lower = [[alike + SAME, 0, 0], [NUMBERS, alike + SAME, 0], [alike, NUMBERS, alike + SAME]]
    assert np.tril(inner) == pytest.approx(np.array(lower))
    assert kernel.same()[0].tolist() == [[False, False, True]]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 50))
def test_the_kernel_is_the_sum_of_its_parts(seed: int, many: int) -> None:
    """Computed pair by pair, with words in several fields, alone and in common."""
    chance, n = np.random.default_rng(seed), 25
    catalogue = Catalogue(dim=3)
    words = [[f"w{w}" for w in chance.choice(30, chance.integers(0, 5))] for _ in range(n)]
    cards = [
        ItemCard(AsOf(0, k, 0), f"i{k}", lists={"a": own[:2], "b": own[2:]}, numbers={"n": k % 5})
        for k, own in enumerate(words)
    ]
    catalogue.apply(cards, chance.normal(size=(n, 3)).astype(np.float32))
    space = ItemSpace(catalogue)
    space.refresh()
    items = space.describe(np.arange(n, dtype=np.int32))
    places, first = chance.integers(0, n, (3, 4 + many)), 4
    along = chance.normal(size=(3, 4 + many, RANK))
    kernel = Kernel(places, first, items, catalogue.vectors, along)
    across, within = kernel.across(), kernel.within()
    weight = np.zeros((n, items.value.max() + 1))
    weight[items.at, items.value] = items.weight  # a word of two fields counts once
    for g, set_ in enumerate(places):
        cosine = catalogue.vectors[set_] @ catalogue.vectors[set_].T
        apart = ((items.z[set_][:, None] - items.z[set_][None]) ** 2).sum(axis=2)
        tokens = weight[set_] @ weight[set_].T
        np.fill_diagonal(tokens, 1)
        k = 0.45 * np.maximum(cosine - 0.15, 0) / 0.85 + 1.35 * tokens
        k += 0.22 * np.exp(-apart / 4.5) + 0.75 * (set_[:, None] == set_[None])
        k += 0.7 * along[g] @ along[g].T
        assert across[g] == pytest.approx(k[:first, first:], abs=1e-5)
        assert np.tril(within[g]) == pytest.approx(np.tril(k[first:, first:]), abs=1e-5)


@pytest.mark.parametrize("definite", [True, False])
def test_symmetric_systems_are_solved_by_their_lower_half(definite: bool) -> None:
    chance = np.random.default_rng(3)
    k = chance.normal(size=(9, 9))
    k = k @ k.T + np.eye(9) if definite else k + k.T
    assert (np.linalg.eigvalsh(k).min() > 0) == definite
    half, y = np.tril(k) + np.triu(np.full((9, 9), 7.0), 1), chance.normal(size=(9, 2))
    for some in (y, y[:, 0]):
        assert k @ solve_lower(half, some) == pytest.approx(some)
    assert half[0, 1] == 7.0


def test_one_item_shown_before(catalogue: Catalogue) -> None:
    shown = before([0], [1], [0])
    taste = taste_of(catalogue, [1, 3], shown)
    # a list of one item, taken: p = .98
    r, w = 0.02, 0.03
    inner = TEXT + TOKENS + NUMBERS + SAME + 1 / w
    expected = [(TEXT + TOKENS + NUMBERS) / inner * r / w, NUMBERS / inner * r / w]
    assert taste == pytest.approx(expected, rel=1e-4)


def test_who_takes_one_kind_gets_a_taste_for_it(catalogue: Catalogue) -> None:
    shown = before([0, 3, 4, 1], [1, 0, 0, 1], [0, 0, 1, 1])
    taste = taste_of(catalogue, [2, 5], shown)
    assert taste[0] > 0 > taste[1]


def test_what_everybody_takes_says_less_of_a_taste(catalogue: Catalogue) -> None:
    shown = before([0, 3], [1, 0], [0, 0])
    surprising = taste_of(catalogue, [1], shown)
    expected = taste_of(catalogue, [1], shown, {0: 3.0, 3: -3.0})
    assert 0 < expected[0] < surprising[0]


def test_who_was_shown_nothing_has_no_taste(catalogue: Catalogue) -> None:
    assert not taste_of(catalogue, [1, 2], before([], [], [])).any()


def test_learned_directions_add_to_the_taste(catalogue: Catalogue) -> None:
    shown = before([0, 3], [1, 0], [0, 0])
    plain = taste_of(catalogue, [5], shown)
    along = np.array([[2.0], [2.0], [-2.0]])
    assert taste_of(catalogue, [5], shown, along=along)[0] > plain[0] + 0.1


def test_directions_find_what_users_differ_in() -> None:
    rng = np.random.default_rng(0)
    differences, n = Differences(), 12
    for _ in range(START):
        sign = rng.choice([-1, 1])
        x = rng.normal(size=(2 * n, 8))
        odds = 2 * sign * x[:, 2] - 1
        taken = rng.random(2 * n) < 1 / (1 + np.exp(-odds))
        earlier = before([0] * n, taken[n:].tolist(), [0] * n)
        laid = lay([(np.zeros(n, np.int32), earlier)])
        differences.learn(laid, x, np.zeros(2 * n), taken[:n])
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
        earlier = before([0] * n, taken[n:].tolist(), [0] * n)
        laid = lay([(np.zeros(n, np.int32), earlier)])
        differences.learn(laid, x, np.zeros(2 * n), taken[:n])
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
