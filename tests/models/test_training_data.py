"""What of the interactions is learned from, what is held out, and their batches."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
import torch

from models.interactions import Interactions, windows
from models.training_data import Material, batch_of, log_shares, split
from stream.errors import ModelError
from tests.builders import DAY, NOON
from tests.models.planted import NO_QUERIES, columns


def test_a_batch_says_what_was_known_before_the_next() -> None:
    known = columns(
        [[5, 6, 7]],
        times=[[NOON, NOON + 2000, NOON + 9000]],
        query=np.array([-1, 0, 1], np.int32),
        weight=np.array([1.0, -1.0, 0.5], np.float32),
        queries=["tea", "hats"],
    )
    cut = windows(known, 4, np.ones(3, np.bool_))
    batch = batch_of(known, cut.at, torch.zeros(2, 6), cut.after)
    assert batch.items.tolist() == [[5, 6, -1, -1]]
    assert batch.weight.tolist() == [[1.0, -1.0, 0.0, 0.0]]
    assert batch.gap_s.tolist() == [[2.0, 7.0, 0.0, 0.0]]
    assert batch.query.tolist() == [[0, 1, -1, -1]]


def days(counts: Sequence[int], users: int = 10) -> Interactions:
    """Return interactions of ``users`` users, so many of each a day, at times of their own."""
    times = [
        [NOON + day * DAY + user * 100 + k for day, n in enumerate(counts) for k in range(n)]
        for user in range(users)
    ]
    return columns([[k % 4 for k in range(sum(counts))] for _ in range(users)], times=times)


def test_the_newest_are_held_out() -> None:
    data = days([5, 5, 5])
    fit, held = split(Material(data, NO_QUERIES), 0.2, 1.0, 0)
    assert not (fit & held).any() and (fit | held).all()
    assert data.time[held].min() > data.time[fit].max()
    assert held.mean() == pytest.approx(0.2, abs=0.01)
    fit, held = split(Material(data, NO_QUERIES), 0.0, 1.0, 0)
    assert fit.all() and not held.any()


def test_interactions_of_one_time_are_not_parted() -> None:
    data = columns([[0, 1, 2, 3]], times=[[NOON, NOON + 1, NOON + 1, NOON + 1]])
    _, held = split(Material(data, NO_QUERIES), 0.5, 1.0, 0)
    assert not held.any()


def test_only_positives_are_learned_and_held_out() -> None:
    weight = np.tile([1.0, 0.0, -1.0, 2.0], 10).astype(np.float32)
    data = columns([[0, 1, 2, 3]] * 10, weight=weight)
    fit, held = split(Material(data, NO_QUERIES), 0.1, 1.0, 0)
    assert ((fit | held) == (weight > 0)).all()


@pytest.mark.parametrize("past", [0.0, 0.5, 1.0, 9.0])
def test_of_the_past_whole_users_are_drawn(past: float) -> None:
    data = days([6, 4])
    material = Material(data, NO_QUERIES, since_ms=NOON + DAY)
    fit, held = split(material, 0.1, past, 0)
    before = data.time < material.since_ms
    assert not (held & before).any()
    recent = int((fit & ~before).sum())
    old = Counter(data.user[fit & before].tolist())
    assert sum(old.values()) == min(int(past * recent), int(before.sum()))
    assert sorted(old.values(), reverse=True)[:-1] == [6] * (len(old) - 1)


def test_the_draw_of_the_past_is_seeded() -> None:
    material = Material(days([6, 4], users=40), NO_QUERIES, since_ms=NOON + DAY)
    one, same, other = (split(material, 0.1, 0.3, seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def nobody() -> Material:
    return Material(columns([[]]), NO_QUERIES)


WRONG: dict[str, tuple[Material, str]] = {
    "nothing": (nobody(), "0 positive interactions with 0 items"),
    "one item": (Material(columns([[3, 3, 3]]), NO_QUERIES), "with 1 items are too few"),
    "dislikes": (Material(columns([[0, 1]], weight=-np.ones(2)), NO_QUERIES), "0 positive"),
    "a window in the future": (Material(columns([[0, 1]]), NO_QUERIES, NOON + DAY), "nothing new"),
}


@pytest.mark.parametrize("what", WRONG)
def test_it_is_said_when_there_is_nothing_to_learn_from(what: str) -> None:
    material, said = WRONG[what]
    with pytest.raises(ModelError, match=said):
        split(material, 0.1, 1.0, 0)


def test_shares_of_items_are_chances_of_which_none_is_zero() -> None:
    shares = log_shares(columns([[0, 0, 2]]), 4)
    assert shares.tolist() == pytest.approx([math.log(n / 7) for n in (3, 1, 2, 1)])
