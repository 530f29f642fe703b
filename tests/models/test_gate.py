"""The gate, against what can be computed by hand or counted out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.gate import DECIDES, Chosen, Comparison, Pair, Questions, compare, judge
from stream.settings import TrainingSettings

F64 = NDArray[np.float64]
RULES = TrainingSettings()


def alone(candidate: F64, current: F64, users: F64, seed: int = 0) -> Comparison:
    chosen = Chosen("all", users, np.ones(len(users), dtype=bool))
    return compare([Pair(DECIDES, candidate, current)], chosen, 0.95, (seed, 0))[0]


def asked(n: int, **groups: NDArray[np.bool_]) -> Questions:
    return Questions(np.arange(n), groups)


def test_means_and_differences_by_hand() -> None:
    users = np.array([1.0, 1, 2])
    one = alone(np.array([0.5, 0.7, 0.0]), np.array([0.4, 0.6, 0.1]), users)
    assert (one.questions, one.users) == (3, 2)
    assert one.candidate == pytest.approx(0.4)
    assert one.current == pytest.approx(1.1 / 3)
    assert one.difference == pytest.approx(0.1 / 3)
    # Two users are drawn: (1,1) 0.1, (1,2) and (2,1) 0.1/3, (2,2) -0.1, each 1 of 4.
    assert one.low == pytest.approx(-0.1)
    assert one.high == pytest.approx(0.1)
    assert one.worse == pytest.approx(0.25, abs=0.04)


def test_the_interval_is_that_of_all_samples_counted_out() -> None:
    """Five users have 3,125 samples, which can all be listed."""
    # Powers of two, so that no sum is 0 in one order of adding and 1e-17 in another.
    sums, counts = np.array([0.75, -0.5, 0.25, 0.0, -0.125]), np.array([2, 1, 2, 1, 4])
    users = np.repeat(np.arange(5.0), counts)
    difference = np.repeat(sums / counts, counts)
    samples = np.array(list(itertools.product(range(5), repeat=5)))
    every = sums[samples].sum(1) / counts[samples].sum(1)
    found = [alone(difference, np.zeros(10), users, seed) for seed in range(20)]
    low, high = np.quantile(every, (0.05, 0.95))
    assert np.mean([one.low for one in found]) == pytest.approx(low, abs=0.01)
    assert np.mean([one.high for one in found]) == pytest.approx(high, abs=0.01)
    assert np.mean([one.worse for one in found]) == pytest.approx((every < 0).mean(), abs=0.01)


def test_for_many_independent_questions_it_is_the_normal_interval() -> None:
    rng = np.random.default_rng(1)
    difference = rng.normal(0.01, 0.2, 4000)
    one = alone(difference, np.zeros(4000), np.arange(4000.0))
    error = difference.std() / np.sqrt(4000)
    assert one.low == pytest.approx(difference.mean() - 1.645 * error, abs=0.1 * error)
    assert one.high == pytest.approx(difference.mean() + 1.645 * error, abs=0.1 * error)


def test_questions_of_one_user_are_no_independent_evidence() -> None:
    """The same 400 values are surer when they come from 400 users than when from 20."""
    rng = np.random.default_rng(2)
    difference = np.repeat(rng.normal(0, 0.2, 20), 20)
    many = alone(difference, np.zeros(400), np.arange(400.0))
    few = alone(difference, np.zeros(400), np.repeat(np.arange(20.0), 20))
    assert few.high - few.low > 3 * (many.high - many.low)


def test_without_a_current_model_the_first_is_promoted() -> None:
    verdict = judge({DECIDES: np.zeros(3)}, None, asked(3), RULES)
    assert verdict.promote
    assert verdict.reasons == ["there is no current model"]


def test_a_clearly_worse_one_is_refused_and_a_better_one_promoted() -> None:
    rng = np.random.default_rng(3)
    base = rng.random(1000) * (rng.random(1000) < 0.3)
    noise = rng.normal(0, 0.02, 1000)
    worse = judge({DECIDES: base * 0.8 + noise}, {DECIDES: base}, asked(1000), RULES)
    assert not worse.promote
    assert "it may lose" in worse.reasons[0]
    better = judge({DECIDES: base * 1.2 + noise}, {DECIDES: base}, asked(1000), RULES)
    assert better.promote
    assert better.comparisons[0].worse < 0.01


def test_what_may_be_lost_is_a_share_of_the_current_value() -> None:
    base = np.tile([0.0, 0.4], 500)
    slightly = {DECIDES: base * 0.985}
    assert judge(slightly, {DECIDES: base}, asked(1000), RULES).promote
    strict = TrainingSettings(tolerance=0)
    assert not judge(slightly, {DECIDES: base}, asked(1000), strict).promote
    assert not judge({DECIDES: base * 0.97}, {DECIDES: base}, asked(1000), RULES).promote


def test_how_sure_it_must_be_is_a_setting() -> None:
    rng = np.random.default_rng(4)
    base = rng.random(400)
    candidate = {DECIDES: base + rng.normal(0.012, 0.2, 400)}
    bold, careful = TrainingSettings(sure=0.6), TrainingSettings(sure=0.999)
    assert judge(candidate, {DECIDES: base}, asked(400), bold).promote
    assert not judge(candidate, {DECIDES: base}, asked(400), careful).promote


def test_a_group_that_suffers_has_the_veto() -> None:
    base = np.full(1000, 0.3)
    cold = np.arange(1000) < 100
    candidate = {DECIDES: np.where(cold, 0.2, 0.35)}
    verdict = judge(candidate, {DECIDES: base}, asked(1000, **{"cold items": cold}), RULES)
    assert not verdict.promote
    assert [words for words in verdict.reasons if words.startswith("cold items")]
    assert "worse by more than" in verdict.reasons[0]


def test_a_small_group_does_not_vote() -> None:
    base = np.full(1000, 0.3)
    few = np.arange(1000) < 49
    candidate = {DECIDES: np.where(few, 0.0, 0.35)}
    verdict = judge(candidate, {DECIDES: base}, asked(1000, few=few), RULES)
    assert verdict.promote
    assert "few: 49 questions of 49 users are too few to vote" in verdict.reasons
    nobody = judge(candidate, {DECIDES: base}, asked(1000, none=few & ~few), RULES)
    assert nobody.promote


def test_a_group_of_few_users_does_not_vote_either() -> None:
    base = np.full(1000, 0.3)
    theirs = np.arange(1000) < 200
    users = np.where(theirs, np.arange(1000) % 5, np.arange(1000))
    candidate = {DECIDES: np.where(theirs, 0.0, 0.5)}
    assert judge(candidate, {DECIDES: base}, Questions(users, {"few": theirs}), RULES).promote


def test_chance_in_a_small_group_refuses_no_good_candidate() -> None:
    """Were groups to prove that they lose nothing, most of these would be refused."""
    refused = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        hit, other = rng.random((2, 3000)) < 0.2
        base = np.where(hit, rng.random(3000), 0.0)
        changed = np.where(rng.random(3000) < 0.2, np.where(other, rng.random(3000), 0.0), base)
        group = np.arange(3000) < 150
        candidate = {DECIDES: np.where(group, changed, base * 1.1)}
        verdict = judge(candidate, {DECIDES: base}, asked(3000, cold=group), RULES, seed)
        refused += not verdict.promote
    assert refused <= 3


def test_too_few_questions_tell_nothing() -> None:
    values = {DECIDES: np.full(49, 0.5)}
    verdict = judge(values, values, asked(49), RULES)
    assert not verdict.promote
    assert "too few to tell" in verdict.reasons[0]


def test_other_values_are_compared_and_do_not_decide() -> None:
    base = np.full(200, 0.3)
    candidate = {DECIDES: base, "hr@10": np.zeros(200), "only here": base}
    verdict = judge(candidate, {DECIDES: base, "hr@10": np.ones(200)}, asked(200), RULES)
    assert verdict.promote
    assert [one.value for one in verdict.comparisons] == [DECIDES, "hr@10"]
    assert verdict.comparisons[1].worse == 1


def test_hits_may_be_truth_values_and_users_names() -> None:
    users = np.array([f"user {n % 30}" for n in range(90)])
    hits = np.arange(90) % 3 == 0
    values = {DECIDES: hits.astype(float), "hr@10": hits}
    assert judge(values, values, Questions(users, {}), RULES).comparisons[1].users == 30


@pytest.mark.parametrize(
    ("candidate", "current"),
    [
        ({"hr@10": np.ones(60)}, {DECIDES: np.ones(60)}),
        ({DECIDES: np.ones(60)}, {"hr@10": np.ones(60)}),
        ({DECIDES: np.ones(59)}, {DECIDES: np.ones(60)}),
        ({DECIDES: np.full(60, np.nan)}, {DECIDES: np.ones(60)}),
    ],
)
def test_what_cannot_be_compared_is_an_error(
    candidate: dict[str, F64], current: dict[str, F64]
) -> None:
    with pytest.raises(ValueError, match=DECIDES):
        judge(candidate, current, asked(60), RULES)


def test_a_group_of_another_length_is_an_error() -> None:
    values = {DECIDES: np.ones(60)}
    with pytest.raises(ValueError, match="one truth value a question"):
        judge(values, values, asked(60, cold=np.ones(59, dtype=bool)), RULES)


VALUES = st.lists(st.floats(0, 1), min_size=60, max_size=120)


@settings(deadline=None, max_examples=25)
@given(VALUES, st.integers(20, 60), st.integers(0, 2**31))
def test_equal_values_are_always_promoted(values: list[float], users: int, seed: int) -> None:
    same = {DECIDES: np.array(values)}
    whose = Questions(np.arange(len(values)) % users, {"cold": np.array(values) < 0.5})
    verdict = judge(same, same, whose, TrainingSettings(tolerance=0), seed)
    assert verdict.promote
    assert verdict.comparisons[0].low == verdict.comparisons[0].high == 0


@settings(deadline=None, max_examples=25)
@given(VALUES, st.floats(0.3, 1), st.integers(0, 2**31))
def test_worse_at_every_question_is_always_refused(
    values: list[float], loss: float, seed: int
) -> None:
    current = np.array(values) + 1
    verdict = judge({DECIDES: current - loss}, {DECIDES: current}, asked(len(values)), RULES, seed)
    assert not verdict.promote
    assert verdict.comparisons[0].worse == 1


@settings(deadline=None, max_examples=15)
@given(VALUES, st.integers(0, 2**31))
def test_one_seed_one_verdict_in_any_order_of_users(values: list[float], seed: int) -> None:
    candidate, current = np.array(values), np.array(values[::-1])
    whose = Questions(np.arange(len(values)) % 30, {})
    first = judge({DECIDES: candidate}, {DECIDES: current}, whose, RULES, seed)
    assert judge({DECIDES: candidate}, {DECIDES: current}, whose, RULES, seed) == first
    one = first.comparisons[0]
    assert one.low <= one.high
    assert 0 <= one.worse <= 1
