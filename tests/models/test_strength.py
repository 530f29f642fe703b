"""Strength of items: hand-computed cases and laws."""

import math

import numpy as np
import pytest

from features.card import AsOf, ItemCard
from features.catalogue import Catalogue
from models.item_space import COMPONENTS, ItemSpace
from models.strength import ITEM_PRIOR, TOKEN_PRIOR, ItemStrength, residuals


def rows(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array(numbers, dtype=np.int32)


def filled(n: int, *, dim: int = 4, kinds: int = 2, seed: int = 0) -> Catalogue:
    """Return n items of some kinds (a token and a number each) with random vectors."""
    rng = np.random.default_rng(seed)
    catalogue = Catalogue(dim=dim)
    cards = [
        ItemCard(
            AsOf(0, k, 0),
            f"item{k}",
            lists={"kind": [f"kind{k % kinds}"]},
            numbers={"size": float(k % kinds), "weight": float(rng.normal())},
        )
        for k in range(n)
    ]
    catalogue.apply(cards, rng.normal(size=(n, dim)).astype(np.float32))
    return catalogue


def test_the_intercept_takes_away_how_much_a_user_takes() -> None:
    lists = np.repeat(rows(0, 1), 10)
    taken = np.zeros(20, dtype=np.bool_)
    taken[0] = True
    taken[10:19] = True
    r, w = residuals(np.zeros(20), taken, lists)
    # all log-odds equal: p is the smoothed share, .96 * .1 + .02 and .96 * .9 + .02
    assert r[:2] == pytest.approx([1 - 0.116, -0.116])
    assert r[10] == pytest.approx(1 - 0.884)
    assert r[19] == pytest.approx(-0.884)
    assert w[0] == pytest.approx(0.116 * 0.884)


def test_residuals_sum_to_the_smoothing_alone() -> None:
    rng = np.random.default_rng(1)
    eta, lists = rng.normal(size=30) * 3, np.repeat(rows(0, 1, 2), 10)
    taken = rng.random(30) < 0.3
    r, _ = residuals(eta, taken, lists)
    for k in range(3):
        y = taken[lists == k].sum()
        assert r[lists == k].sum() == pytest.approx(0.04 * y - 0.2, abs=1e-3)


@pytest.mark.parametrize("all_taken", [True, False])
def test_extreme_lists_stay_finite(all_taken: bool) -> None:
    eta = np.array([-500.0, 0.0, 500.0])
    r, w = residuals(eta, np.full(3, all_taken), rows(0, 0, 0))
    assert np.isfinite(r).all()
    assert np.isfinite(w).all()


def test_one_list_is_fitted_as_among_others() -> None:
    catalogue, rng = filled(12), np.random.default_rng(4)
    items = ItemSpace(catalogue).describe(rows(*range(12)))
    for y in (0, 1, 5, 12):
        strength, taste, taken = ItemStrength(), 3 * rng.normal(size=12), np.arange(12) < y
        odds = taste + strength.of(items) - 0.15 * np.log1p(np.arange(12))
        r, w = residuals(np.concatenate([[0.5], odds]), np.append(True, taken), rows(0, *[1] * 12))
        strength.learn(items, taken, taste)
        assert strength.own_information.rows[:12] == pytest.approx(ITEM_PRIOR + w[1:], abs=1e-12)
        assert strength.own.rows[:12] == pytest.approx(r[1:] / (ITEM_PRIOR + w[1:]), abs=1e-12)


def test_items_beyond_the_list_are_asked_about_and_teach_nothing() -> None:
    catalogue, taken = filled(12), np.array([True, False, False])
    space, plain, more = ItemSpace(catalogue), ItemStrength(), ItemStrength()
    for strength in (plain, more):
        strength.learn(space.describe(rows(6, 7)), np.array([True, False]), np.zeros(2))
    items = space.describe(rows(0, 1, 2, 7, 6))
    wanted = more.of(items)
    assert more.learn(items, taken, np.zeros(3)) == pytest.approx(wanted)
    assert plain.learn(space.describe(rows(0, 1, 2)), taken, np.zeros(3)) == pytest.approx(
        wanted[:3]
    )
    assert wanted[3] < wanted[4]
    assert more.of(items) == pytest.approx(plain.of(items))


def test_an_item_without_a_card_learns_its_own_number_alone() -> None:
    catalogue = Catalogue(dim=2)
    pair = rows(catalogue.ensure("a"), catalogue.ensure("b"))
    strength, space = ItemStrength(), ItemSpace(catalogue)
    strength.learn(space.describe(pair), np.array([True, False]), np.zeros(2))
    # the log-odds differ by the position alone: p = sigmoid(a), sigmoid(a - .15 log 2), sum 1
    half = 0.15 * math.log(2) / 2
    p = 1 / (1 + math.exp(-half))
    step = (1 - p) / (ITEM_PRIOR + p * (1 - p))
    assert strength.of(space.describe(pair)) == pytest.approx([step, -step], rel=1e-4)


def test_a_token_learns_its_share() -> None:
    catalogue = Catalogue(dim=2)
    cards = [
        ItemCard(AsOf(0, 0, 0), "a", lists={"kind": ["red", "round", "soft", "small"]}),
        ItemCard(AsOf(0, 1, 0), "b"),
    ]
    catalogue.apply(cards, np.zeros((2, 2), np.float32))
    strength, space = ItemStrength(), ItemSpace(catalogue)
    strength.learn(space.describe(rows(0, 1)), np.array([True, False]), np.zeros(2))
    p = 1 / (1 + math.exp(-0.15 * math.log(2) / 2))
    # four tokens: each takes (r / 2) / (100 + W / 4)
    share = (1 - p) / 2 / (TOKEN_PRIOR + p * (1 - p) / 4)
    assert strength.tokens.rows[:4] == pytest.approx([share] * 4, rel=1e-4)


def test_a_new_item_has_the_strength_of_its_kind() -> None:
    catalogue = filled(20)
    space, strength = ItemSpace(catalogue), ItemStrength()
    assert space.refresh() is not None
    shown = rows(*range(10))
    for _ in range(30):
        strength.learn(space.describe(shown), shown % 2 == 0, np.zeros(10))
    f = strength.of(space.describe(rows(*range(10, 20))))
    assert f[::2].min() > f[1::2].max()


def test_what_taste_explains_is_not_the_items_doing() -> None:
    catalogue = filled(6)
    space, plain, excused = ItemSpace(catalogue), ItemStrength(), ItemStrength()
    items, taken = space.describe(rows(*range(6))), np.array([True] + [False] * 5)
    plain.learn(items, taken, np.zeros(6))
    excused.learn(items, taken, np.array([3.0, 0, 0, 0, 0, 0]))
    assert excused.of(items)[0] < plain.of(items)[0]


def test_the_covariance_stays_positive() -> None:
    catalogue = filled(40, kinds=3)
    space, strength = ItemSpace(catalogue), ItemStrength()
    space.refresh()
    rng = np.random.default_rng(3)
    for _ in range(200):
        shown = rng.choice(40, 8, replace=False).astype(np.int32)
        strength.learn(space.describe(shown), rng.random(8) < 0.3, np.zeros(8))
    assert np.linalg.eigvalsh(strength.covariance).min() > 0


def test_scales_are_standard_and_set_anew_only_after_growth() -> None:
    catalogue = filled(100)
    space = ItemSpace(catalogue)
    space.refresh()
    items = space.describe(np.arange(100, dtype=np.int32))
    assert items.z.mean(axis=0) == pytest.approx([0, 0], abs=0.05)
    assert items.p.mean(axis=0) == pytest.approx(np.zeros(min(COMPONENTS, 4)), abs=1e-5)
    assert items.p.std(axis=0).mean() == pytest.approx(1, abs=1e-4)
    assert space.refresh() is None
    catalogue.apply([ItemCard(AsOf(0, 0, 0), "more")], np.zeros((1, 4), np.float32))
    assert space.refresh() is None


def test_scales_are_set_anew_where_vectors_come_later_than_items() -> None:
    catalogue = filled(100)
    vectors = catalogue.vectors.copy()
    catalogue.exchange([], vectors[:0], "new")
    space = ItemSpace(catalogue)
    assert space.refresh() is not None
    assert not space.maps.basis.any()
    catalogue.put_vectors([*catalogue.ids, "nobody"], np.concatenate([vectors, vectors[:1]]))
    assert space.refresh() is not None
    assert space.maps.basis.any()
    assert space.refresh() is None


def test_new_scales_keep_what_was_learned() -> None:
    catalogue = filled(60)
    space, strength = ItemSpace(catalogue), ItemStrength()
    space.refresh()
    for first in range(0, 60, 6):
        shown = np.arange(first, first + 6, dtype=np.int32)
        strength.learn(space.describe(shown), shown % 2 == 0, np.zeros(6))
    every = np.arange(60, dtype=np.int32)
    old = strength.of(space.describe(every))
    rng = np.random.default_rng(9)
    cards = [ItemCard(AsOf(0, 0, 0), f"later{k}", numbers={"new": float(k)}) for k in range(40)]
    catalogue.apply(cards, rng.normal(size=(40, 4)).astype(np.float32))
    carry = space.refresh()
    assert carry is not None
    strength.carry(carry.phi)
    new = strength.of(space.describe(every))
    assert np.corrcoef(old, new)[0, 1] > 0.999
    assert np.linalg.eigvalsh(strength.covariance).min() > -1e-9


def test_missing_and_endless_numbers_say_nothing() -> None:
    catalogue = filled(10)
    card = ItemCard(AsOf(0, 0, 0), "odd", numbers={"size": 1e300})
    catalogue.apply([card], np.zeros((1, 4), np.float32))
    space = ItemSpace(catalogue)
    space.refresh()
    phi = space.describe(rows(10, catalogue.ensure("nobody"))).phi
    assert np.isfinite(phi).all()
    assert not phi[1].any()
