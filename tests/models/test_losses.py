"""Losses against numbers worked out in plain Python, and against what their papers say of them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from models.losses import gbce, sampled_softmax, softmax

OUTPUTS = torch.tensor([[1.0, -0.5], [0.2, 2.0]])
TABLE = torch.tensor([[0.5, 1.0], [-1.0, 0.25], [2.0, 0.0], [0.0, -1.5]])
TARGET = torch.tensor([2, 0])
ODDS = [
    [sum(a * b for a, b in zip(o, i, strict=True)) for i in TABLE.tolist()]
    for o in OUTPUTS.tolist()
]
"""Log-odds of each item for each output, in plain Python."""

N = len(TABLE)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def bce(hit: float, others: list[float]) -> float:
    return -math.log(sigmoid(hit)) - sum(math.log(1 - sigmoid(x)) for x in others)


def test_softmax_is_the_logarithm_of_the_targets_share() -> None:
    expected = [
        math.log(sum(math.exp(x) for x in odds)) - odds[target]
        for odds, target in zip(ODDS, TARGET.tolist(), strict=True)
    ]
    assert softmax(OUTPUTS, TABLE, TARGET).tolist() == pytest.approx(expected, abs=1e-6)


def test_sampled_softmax_weighs_each_negative_by_how_rarely_it_is_drawn() -> None:
    share, negatives = [0.1, 0.2, 0.3, 0.4], [3, 1, 3]
    expected = []
    for odds, target in zip(ODDS, TARGET.tolist(), strict=True):
        others = sum(math.exp(odds[i]) / (3 * share[i]) for i in negatives)
        expected.append(math.log(math.exp(odds[target]) + others) - odds[target])
    found = sampled_softmax(
        OUTPUTS, TABLE, TARGET, torch.tensor(negatives), torch.tensor(share).log()
    )
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


def gradients(loss: Callable[[Tensor, Tensor], Tensor]) -> list[Tensor]:
    """Return the gradients of the mean loss by outputs and table."""
    outputs, table = OUTPUTS.clone().requires_grad_(), TABLE.clone().requires_grad_()
    return list(torch.autograd.grad(loss(outputs, table).mean(), [outputs, table]))


@pytest.mark.parametrize(
    "draws",
    [[0, 1, 2, 3], [0, 0, 0, 1, 2, 3], [0, 1, 1, 2, 2, 2, 3, 3, 3, 3]],
    ids=["all-once", "one-is-popular", "all-differ"],
)
def test_a_sample_that_is_like_its_distribution_gives_the_full_softmax(draws: list[int]) -> None:
    negatives = torch.tensor(draws)
    log_q = (torch.bincount(negatives, minlength=N) / len(draws)).log()
    sampled = gradients(lambda o, t: sampled_softmax(o, t, TARGET, negatives, log_q))
    full = gradients(lambda o, t: softmax(o, t, TARGET))
    for one, other in zip(sampled, full, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


@pytest.mark.parametrize("share", [[0.25] * 4, [0.7, 0.1, 0.1, 0.1]])
def test_the_gradient_of_many_draws_nears_that_of_the_full_softmax(share: list[float]) -> None:
    q = torch.tensor(share)
    negatives = torch.multinomial(q, 20_000, True, generator=torch.Generator().manual_seed(3))
    sampled = gradients(lambda o, t: sampled_softmax(o, t, TARGET, negatives, q.log()))
    full = gradients(lambda o, t: softmax(o, t, TARGET))
    for one, other in zip(sampled, full, strict=True):
        assert torch.allclose(one, other, atol=0.02)


def test_a_wrong_distribution_gives_another_gradient() -> None:
    negatives = torch.tensor([0, 0, 0, 1, 2, 3])
    uniform = torch.full((N,), -math.log(N))
    sampled = gradients(lambda o, t: sampled_softmax(o, t, TARGET, negatives, uniform))
    full = gradients(lambda o, t: softmax(o, t, TARGET))
    assert not torch.allclose(sampled[0], full[0], atol=0.02)


def test_accidental_hits_count_for_none() -> None:
    """Each target alone among its own negatives costs nothing; beside others no more than these."""
    log_q, target = torch.full((N,), -math.log(N)), TARGET[:1]
    only = target.repeat(3)
    assert sampled_softmax(OUTPUTS[:1], TABLE, target, only, log_q).tolist() == [0.0]
    without = gbce(OUTPUTS[:1], TABLE, target, torch.tensor([1, 3]), calibration=0)
    among = gbce(OUTPUTS[:1], TABLE, target, torch.tensor([1, 2, 3, 2]), calibration=0)
    assert among.tolist() == pytest.approx(without.tolist())
    alone = gbce(OUTPUTS[:1], TABLE, target, only, calibration=0)
    assert alone.tolist() == pytest.approx([bce(ODDS[0][2], [])])


def test_gbce_without_calibration_is_plain_binary_cross_entropy() -> None:
    negatives = [1, 3]
    expected = [
        bce(odds[target], [odds[i] for i in negatives])
        for odds, target in zip(ODDS, TARGET.tolist(), strict=True)
    ]
    found = gbce(OUTPUTS, TABLE, TARGET, torch.tensor(negatives), calibration=0)
    assert found.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("calibration", [0.0, 0.3, 0.75, 1.0])
def test_gbce_is_plain_on_a_positive_that_is_moved(calibration: float) -> None:
    """Petrov and Macdonald: with log(1 / (sigmoid(s)^-beta - 1)) for the positive's log-odds s."""
    negatives = [1, 3]
    alpha = len(negatives) / (N - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    expected = []
    for odds, target in zip(ODDS, TARGET.tolist(), strict=True):
        moved = math.log(1 / (sigmoid(odds[target]) ** -beta - 1))
        expected.append(bce(moved, [odds[i] for i in negatives]))
    found = gbce(OUTPUTS, TABLE, TARGET, torch.tensor(negatives), calibration)
    assert found.tolist() == pytest.approx(expected, abs=1e-5)


def test_gbce_with_every_item_as_a_negative_needs_no_calibration() -> None:
    everything = torch.tensor([1, 2, 3])
    found = [gbce(OUTPUTS, TABLE, TARGET, everything, t).tolist() for t in (0.0, 0.5, 1.0)]
    assert found[0] == pytest.approx(found[1])
    assert found[0] == pytest.approx(found[2])


@pytest.mark.parametrize(("calibration", "honest"), [(1.0, True), (0.0, False)])
def test_calibrated_gbce_ends_at_the_true_chance(calibration: float, honest: bool) -> None:
    """The mean loss is least where sigmoid(s) is the chance p; uncalibrated, where it is larger.

    An item out of 9 that is taken with chance p is else a negative in 2 of 8 draws.
    """
    p, items, drawn = 0.3, 9, 2
    odds = torch.linspace(-4, 4, 801)
    table = torch.zeros(items, 1)
    table[0] = 1.0
    target = torch.zeros(len(odds), dtype=torch.long)
    elsewhere = torch.full((drawn,), items - 1)  # whose log-odds are 0, which adds a constant
    taken = gbce(odds[:, None], table, target, elsewhere, calibration)
    left = torch.log(1 + torch.exp(odds)) * drawn / (items - 1)
    best = float(torch.sigmoid(odds[(p * taken + (1 - p) * left).argmin()]))
    alpha = drawn / (items - 1)
    assert best == pytest.approx(p if honest else p / (p + alpha * (1 - p)), abs=0.005)
