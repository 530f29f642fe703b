"""Laws of the sum of parts: nothing counted twice, whatever is heard when."""

from __future__ import annotations

import random
from collections.abc import Sequence

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from features.card import AsOf
from models.head import Head, HeadState
from models.sharing import Pool, Share, Told, decode_told
from stream.errors import ModelError

NAMES = ("near", "new", "bias")
SEGMENTS = 2
Lesson = tuple[NDArray[np.float32], NDArray[np.int32], list[bool]]


def a_head() -> Head:
    prior = {"near": 0.5}
    return Head(NAMES, segments=SEGMENTS, learning_rate=0.1, l2=1e-6, prior=prior)


def lessons(seed: int, count: int) -> list[Lesson]:
    """Return examples in which what is near is taken and what is new is not."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        x = np.column_stack([rng.normal(size=(4, 2)), np.ones(4)]).astype(np.float32)
        odds = 2 * x[:, 0] - x[:, 1] - 0.5
        taken = rng.random(4) < 1 / (1 + np.exp(-odds))
        found.append((x, rng.integers(0, SEGMENTS, 4).astype(np.int32), taken.tolist()))
    return found


def teach(share: Share, what: Sequence[Lesson]) -> None:
    for lesson in what:
        share.learn(*lesson)


def wired(part: HeadState) -> HeadState:
    """Return a part as it comes through Redis."""
    raw = msgspec.json.encode(Told(AsOf(0, 1, 0), {"next": part}))
    return decode_told(raw).heads["next"]


def test_two_partitions_in_one_process_learn_as_one_head_would() -> None:
    alone, pool = a_head(), Pool(a_head())
    shares = [Share(pool, 0), Share(pool, 1)]
    for number, lesson in enumerate(lessons(1, 60)):
        alone.learn(*lesson)
        teach(shares[number % 2], [lesson])
    pool.settle()
    assert pool.head.matrix() == pytest.approx(alone.matrix(), abs=1e-9)
    assert pool.head.vectors()[1] == pytest.approx(alone.vectors()[1], rel=1e-9)
    assert pool.examples == alone.examples == sum(share.examples for share in shares)


def test_parts_may_come_twice_late_and_in_any_order() -> None:
    makers = [Share(Pool(a_head()), place) for place in range(3)]
    history: list[tuple[int, HeadState]] = []
    for _ in range(4):
        for place, maker in enumerate(makers):
            teach(maker, lessons(place, 5))
            history.append((place, maker.state()))
    calm = Pool(a_head())
    for place, maker in enumerate(makers):
        calm.put(place, maker.state())
    calm.settle()
    wild, chance = Pool(a_head()), random.Random(7)
    for place, part in chance.sample(history, len(history)):
        wild.put(place, wired(part))
        if chance.random() < 0.5:
            wild.settle()
    for place, part in history[-3:]:
        wild.put(place, wired(part))
    wild.settle()
    assert np.array_equal(wild.head.matrix(), calm.head.matrix())
    assert wild.examples == calm.examples == 3 * 4 * 5 * 4


def test_restored_it_learns_on_as_if_unbroken() -> None:
    before, after = lessons(2, 30), lessons(3, 30)
    unbroken, other = Pool(a_head()), Share(Pool(a_head()), 1)
    teach(other, lessons(4, 20))
    first = Share(unbroken, 0)
    unbroken.put(1, other.state())
    unbroken.settle()
    teach(first, before)
    unbroken.settle()
    broken = Pool(a_head())
    second = Share(broken, 0)
    second.restore(wired(first.state()))
    broken.put(1, wired(other.state()))
    broken.settle()
    for share in (first, second):
        teach(share, after)
    assert first.state() == second.state()
    assert np.array_equal(unbroken.head.matrix(), broken.head.matrix())


def test_what_was_heard_is_not_told_as_ones_own() -> None:
    other = Share(Pool(a_head()), 1)
    teach(other, lessons(5, 40))
    pool = Pool(a_head())
    own = Share(pool, 0)
    pool.put(1, other.state())
    pool.settle()
    assert own.state() == HeadState({}, {}, 0, moved=True)
    teach(own, lessons(6, 1))
    assert 0 < sum(own.state().squares.values()) < sum(other.state().squares.values()) / 5


def test_partitions_that_are_dropped_leave_nothing_behind() -> None:
    pool = Pool(a_head())
    one, other = Share(pool, 0), Share(pool, 1)
    teach(one, lessons(7, 10))
    kept = one.state()
    teach(other, lessons(8, 10))
    pool.drop([1])
    pool.settle()
    expected = Pool(a_head())
    expected.put(0, kept)
    expected.settle()
    assert np.allclose(pool.head.matrix(), expected.head.matrix(), atol=1e-12)
    assert pool.examples == kept.examples


def apart(processes: int, crowd: float, rounds: int, each: int) -> NDArray[np.float64]:
    """Return the weights of processes that hear each other after every few lessons."""
    pools = [Pool(a_head()) for _ in range(processes)]
    shares = [Share(pool, place) for place, pool in enumerate(pools)]
    for number in range(rounds):
        for place, share in enumerate(shares):
            pools[place].crowd(crowd)
            teach(share, lessons(100 * place + number, each))
        parts = [share.state() for share in shares]
        for pool in pools:
            for place, part in enumerate(parts):
                pool.put(place, part)
            pool.settle()
    for pool in pools[1:]:
        assert np.array_equal(pool.head.matrix(), pools[0].head.matrix())
    return pools[0].head.matrix()


def together(processes: int, rounds: int, each: int) -> NDArray[np.float64]:
    head = a_head()
    for number in range(rounds):
        for place in range(processes):
            for lesson in lessons(100 * place + number, each):
                head.learn(*lesson)
    return head.matrix()


def test_processes_apart_come_to_what_one_process_comes_to() -> None:
    found, expected = apart(4, 4, 10, 8), together(4, 10, 8)
    prior = a_head().matrix()
    off = np.abs(found - expected).max() / np.abs(expected - prior).max()
    assert off < 0.2


def test_counting_for_the_others_keeps_them_from_going_too_far_at_first() -> None:
    expected = together(8, 1, 8)
    mindful, heedless = (np.abs(apart(8, crowd, 1, 8) - expected).sum() for crowd in (8, 1))
    assert mindful < heedless / 2


def test_squares_that_were_counted_for_others_are_not_told() -> None:
    alone, crowded = Pool(a_head()), Pool(a_head())
    crowded.crowd(4)
    (x, segment, taken), *_ = lessons(9, 1)
    for pool in (alone, crowded):
        Share(pool, 0).learn(x[:1], segment[:1], taken[:1])
    assert crowded.part(0).squares == pytest.approx(alone.part(0).squares)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        (HeadState({"gone": 1.0}, {}, 3, moved=True), "gone"),
        (HeadState({"near": 1.0}, {}, 3), "older"),
    ],
)
def test_parts_that_do_not_fit_are_refused_and_change_nothing(part: HeadState, why: str) -> None:
    pool = Pool(a_head())
    with pytest.raises(ModelError, match=why):
        pool.put(1, part)
    pool.settle()
    assert np.array_equal(pool.head.matrix(), a_head().matrix())
    assert pool.examples == 0


@pytest.mark.parametrize("raw", [b"", b"{}", b'{"as_of":{},"heads":3}', b"\xff"])
def test_what_is_no_message_is_refused(raw: bytes) -> None:
    with pytest.raises(msgspec.MsgspecError):
        decode_told(raw)
