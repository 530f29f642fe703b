"""Factors: what the items of a session have in common."""

from __future__ import annotations

import numpy as np
import pytest

from models.arrays import pack, unpack
from models.sources.base import Positive, World
from models.sources.factors import FEWEST, Factors, initial
from tests.models.sources.shop import STRANGER, scored, took, visits, world


def pairs(place: World, n: int) -> list[Positive]:
    """Return n lessons: b is taken after a, and d after c."""
    both = [took(place, "b", "a"), took(place, "d", "c")]
    return [both[k % 2] for k in range(n)]


def seen(source: Factors, place: World) -> dict[str, float]:
    return scored(source, place, visits("a"))


def test_items_taken_together_attract() -> None:
    place = world("abcdz")
    source = Factors(place)
    for _ in range(60):
        source.learn(pairs(place, FEWEST))
    after_a, after_c = seen(source, place), scored(source, place, visits("c"))
    assert max(after_a, key=after_a.__getitem__) == "b"
    assert max(after_c, key=after_c.__getitem__) == "d"
    assert "d" not in after_a
    assert "b" not in after_c


def test_a_user_is_all_his_items_the_latest_most() -> None:
    place = world("abcd")
    source = Factors(place)
    for _ in range(60):
        source.learn(pairs(place, FEWEST))
    last_c, last_a = (scored(source, place, visits(x)) for x in ("ac", "ca"))
    assert last_a["b"] > last_c.get("b", 0)
    assert last_c["d"] > last_a.get("d", 0)


def test_one_step_moves_the_pair_together() -> None:
    place = world("abcd")
    source = Factors(place)
    before = seen(source, place)
    source.learn(pairs(place, FEWEST))
    after = seen(source, place)
    assert after["b"] > before.get("b", 0)
    assert after.get("d", 0) <= before.get("d", 0)


def test_a_step_waits_for_company() -> None:
    place = world("abcd")
    source = Factors(place)
    before = seen(source, place)
    source.learn(pairs(place, FEWEST - 1))
    assert seen(source, place) == before
    source.learn(pairs(place, 1))
    assert seen(source, place) != before


def test_waiting_lessons_are_learned_with_the_others() -> None:
    place = world("abcd")
    parts, whole = Factors(place), Factors(place)
    lessons = pairs(place, FEWEST)
    for one in lessons:
        parts.learn([one])
    whole.learn(lessons)
    assert seen(parts, place) == seen(whole, place)
    assert pack(parts.state()) == pack(whole.state())


def test_a_first_item_teaches_nothing() -> None:
    place = world("abcd")
    source = Factors(place)
    before = seen(source, place)
    source.learn([took(place, "b")] * FEWEST)
    source.learn([took(place, "d"), *pairs(place, FEWEST - 1)])
    assert seen(source, place) == before


def test_what_waits_is_kept_over_a_restart() -> None:
    place, there = world("abcd"), world("zdcba")
    source, other = Factors(place), Factors(there)
    source.learn([took(place, "b", "a")] * FEWEST)  # b is now drawn oftener than d
    lessons = [took(place, "b", "acd"), took(place, "d", "c")] * FEWEST
    source.learn(lessons[: FEWEST - 1])
    assert len(source.state()["waiting"]) == FEWEST - 1
    other.restore(unpack(pack(source.state())), there.catalogue.rows_of("abcd"))
    source.learn([took(place, "d", "ab")])
    other.learn([took(there, "d", "ab")])
    for one in "abcd":
        kept = scored(other, there, visits(one))
        kept.pop("z", None)  # has come since
        assert kept == pytest.approx(scored(source, place, visits(one)), rel=1e-4)
    assert len(source.state()["waiting"]) == len(other.state()["waiting"]) == 0


def test_often_drawn_items_are_not_held_down() -> None:
    """After h comes p half the time, else one of four others.

    Each batch has p and one of them, so within a batch they are equally
    likely; in truth p is four times as likely as each.
    """
    place = world("hpqrst")
    source = Factors(place)
    for k in range(200):
        other = took(place, "qrst"[k % 4], "h")
        source.learn([took(place, "p", "h"), other] * (FEWEST // 2))
    found = scored(source, place, visits("h"))
    odds = {item: np.log1p(found.get(item, 0)) for item in "pqrst"}
    assert odds["p"] > 0.8
    assert all(odds["p"] - odds[other] > 0.8 for other in "qrst")


def test_the_same_lessons_teach_the_same_and_another_seed_another() -> None:
    place = world("abcd")
    one, same, other = Factors(place), Factors(place), Factors(place, seed=1)
    for source in (one, same, other):
        source.learn(pairs(place, FEWEST))
    assert pack(one.state()) == pack(same.state()) != pack(other.state())


def test_a_start_depends_on_the_item_and_the_seed_alone() -> None:
    names = [f"item {number}" for number in range(700)]
    whole, other = np.stack(initial(names, 32)), np.stack(initial(names, 32, seed=1))
    for some in (np.random.default_rng(0).permutation(700), [0], [7, 699, 7]):
        found = np.stack(initial([names[at] for at in some], 32))
        assert np.array_equal(found, whole[:, some])
    assert (whole != other).mean() > 0.99


def test_only_items_that_were_taken_or_asked_with_have_vectors() -> None:
    place = world("abcdz")
    for row in range(768):
        place.catalogue.ensure(f"item {row}")
    source = Factors(place)
    assert len(source.state()["item"]) == 0
    scored(source, place, visits("zd"))
    assert source.state()["item"].tolist() == place.catalogue.rows_of("dz").tolist()
    source.learn(pairs(place, FEWEST))
    state = source.state()
    assert state["item"].tolist() == place.catalogue.rows_of("abcdz").tolist()
    assert state["taken"].tolist() == [0, FEWEST / 2, 0, FEWEST / 2, 0]
    past, following = initial(["z"], 32)
    assert np.array_equal(state["past"][4:], past)
    assert np.array_equal(state["next"][4:], following)


def test_a_checkpoint_of_before_with_vectors_of_all_items_is_gone_on_with() -> None:
    place = world("abcdz")
    source, other = Factors(place), Factors(place)
    for _ in range(20):
        source.learn(pairs(place, FEWEST))
    state = dict(source.state())
    item = state.pop("item")
    whole: dict[str, np.ndarray] = {"waiting": state.pop("waiting")}
    for name, values in state.items():
        fill = 1e-3 if name == "squares" else 0
        whole[name] = np.full((5, *values.shape[1:]), fill, values.dtype)
        whole[name][item] = values
    other.restore(unpack(pack(whole)), np.arange(5))
    assert seen(other, place) == pytest.approx(seen(source, place), rel=1e-6)
    assert pack(other.state()) == pack(source.state())


def test_starts_are_small_and_all_different() -> None:
    both = np.concatenate(initial([f"item {number}" for number in range(768)], 32))
    assert len(np.unique(both, axis=0)) == 1536
    assert both.mean() == pytest.approx(0, abs=0.003)
    assert both.std() == pytest.approx(0.1, rel=0.02)


def test_a_long_run_stays_finite() -> None:
    place = world("abcd")
    source = Factors(place, learning_rate=1)
    for _ in range(500):
        source.learn(pairs(place, FEWEST))
    found = seen(source, place)
    assert np.isfinite(list(found.values())).all()
    assert scored(source, place, STRANGER) == {}
