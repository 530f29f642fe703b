"""Losses of next-item prediction over a catalogue, as pure functions.

All take M outputs and their target items, and return (M,) losses. Sampled ones
draw one set of negatives for the whole batch.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["gbce", "sampled_softmax", "softmax"]


def softmax(outputs: Tensor, table: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy over the whole catalogue: (M,).

    Parameters
    ----------
    outputs
        (M, d).
    table
        (N, d) item vectors.
    target
        (M,) item rows.
    """
    return functional.cross_entropy(outputs @ table.T, target, reduction="none")


def sampled_softmax(
    outputs: Tensor, table: Tensor, target: Tensor, negatives: Tensor, log_q: Tensor
) -> Tensor:
    """Return the cross-entropy over the target and sampled negatives: (M,).

    Each negative's log-odds are lowered by the logarithm of how often it is expected in the
    sample: what the negatives add up to is then expected to be that of the whole catalogue
    (Bengio and Senecal 2008, doi:10.1109/TNN.2007.912312). The target's are not, for it is
    always there (Khrylchenko et al. 2025, arXiv:2507.09331); a negative that is the target
    counts for none.

    Parameters
    ----------
    outputs, table, target
        As for :func:`softmax`.
    negatives
        (K,) item rows.
    log_q
        (N,) logarithm of the chance that one draw gives the item.
    """
    expected = log_q + math.log(len(negatives))
    hit = (outputs * table[target]).sum(-1)
    others = outputs @ table[negatives].T - expected[negatives]
    others = others.masked_fill(negatives[None] == target[:, None], -torch.inf)
    return torch.logsumexp(torch.cat([hit[:, None], others], dim=1), dim=1) - hit


def gbce(
    outputs: Tensor, table: Tensor, target: Tensor, negatives: Tensor, calibration: float = 0.75
) -> Tensor:
    """Return the generalised binary cross-entropy: (M,).

    Petrov and Macdonald 2023, arXiv:2308.07192, equation 14: with uniform negatives a
    plain binary cross-entropy is overconfident; the positive's likelihood is raised to a
    power that makes up for how few negatives are drawn.

    Parameters
    ----------
    outputs, table, target, negatives
        As for :func:`sampled_softmax`, negatives drawn uniformly.
    calibration
        0 is plain binary cross-entropy, 1 calibrates fully.
    """
    alpha = len(negatives) / max(1, len(table) - 1)
    beta = alpha * (calibration * (1 - 1 / alpha) + 1 / alpha)
    hit = functional.logsigmoid((outputs * table[target]).sum(-1))
    others = functional.logsigmoid(-(outputs @ table[negatives].T))
    others = others.masked_fill(negatives[None] == target[:, None], 0.0)
    return -beta * hit - others.sum(-1)
