"""How strong each item is in the eyes of all users: a hierarchical logistic model of shown lists.

The log-odds that item ``i`` is taken from a list are

    ``a_list + f_i + taste_i + POSITION * log(1 + position)``
    ``f_i = b_i + sum_t v_t / sqrt(k_i) + w . phi_i``

with ``b`` one number an item, ``v`` one a token of its ``k_i`` list fields and
``w`` weights of its numbers and content (:class:`models.item_space.Described`).
A new item so begins with what items like it have earned. Each list has an
intercept ``a_list`` of its own, fitted to how much was taken of it: a user who
takes much says no more about the items than one who takes little.

All three learn by one Newton step a list: ``w`` with full covariance (an
extended Kalman filter: Murphy, *Probabilistic Machine Learning: Advanced
Topics*, 2023, section 8.3), ``b`` and ``v`` with diagonal ones.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.columns import Column
from models.arrays import Arrays
from models.cholesky import solve_lower
from models.described import Described

__all__ = ["ItemStrength", "log_odds", "residuals"]

F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]

POSITION: Final = -0.15
"""Weight of log(1 + position) in the log-odds: who looks from the top sees less below."""

SMOOTHING: Final = 0.04
CHANCE: Final = 0.5
"""A list of n with y taken counts as (1 - SMOOTHING) y + SMOOTHING CHANCE n taken."""

NEWTON: Final = 4
"""Steps to a list's intercept."""

ITEM_PRIOR: Final = 3.0
TOKEN_PRIOR: Final = 100.0
"""Information that b and v are taken to have before any list (at 0)."""

VARIANCE: Final = 0.02
"""Prior variance of each weight of w."""


def residuals(eta: F64, taken: NDArray[np.bool_], lists: NDArray[np.integer]) -> tuple[F64, F64]:
    """Return what n shown items say beyond their lists' own rates.

    Each list's intercept ``a`` is fitted by Newton's method to
    ``sum p = (1 - SMOOTHING) sum y + SMOOTHING CHANCE n``, ``p = sigmoid(eta + a)``.

    Parameters
    ----------
    eta
        (n,) log-odds but for the intercept.
    taken
        (n,) what was taken.
    lists
        (n,) number of each item's list, from 0 without gaps.

    Returns
    -------
    residual, information
        (n,) ``y - p`` and ``p (1 - p)``.
    """
    y = taken.astype(np.float64)
    n = np.bincount(lists)
    share = (1 - SMOOTHING) * np.bincount(lists, y) / n + SMOOTHING * CHANCE
    a = np.log(share / (1 - share)) - np.bincount(lists, eta) / n
    p = _sigmoid(eta + a[lists])
    for _ in range(NEWTON):
        slope = np.bincount(lists, p * (1 - p)) / n
        step = (share - np.bincount(lists, p) / n) / np.maximum(slope, 1e-3)
        # far from the solution the curve is flat and a full step would jump over it
        a += np.minimum(np.maximum(step, -2), 2)
        p = _sigmoid(eta + a[lists])
    return y - p, p * (1 - p)


def _sigmoid(odds: F64) -> F64:
    # the same as 1 / (1 + exp(-odds)), which overflows
    return 0.5 + 0.5 * np.tanh(0.5 * odds)


def _residuals_of_one(eta: F64, taken: NDArray[np.bool_]) -> tuple[F64, F64]:
    """Return what :func:`residuals` does, of one list."""
    n = len(eta)
    share = (1 - SMOOTHING) * float(np.count_nonzero(taken)) / n + SMOOTHING * CHANCE
    half = 0.5 * eta
    a = math.log(share / (1 - share)) - float(np.add.reduce(eta)) / n
    # p = (1 + t) / 2 and p (1 - p) = (1 - t^2) / 4
    t = np.tanh(half + 0.5 * a)
    for _ in range(NEWTON):
        slope = 0.25 * (1 - float(t.dot(t)) / n)
        step = (share - 0.5 - 0.5 * float(np.add.reduce(t)) / n) / max(slope, 1e-3)
        a += min(max(step, -2.0), 2.0)
        t = np.tanh(half + 0.5 * a)
    return taken - (0.5 + 0.5 * t), 0.25 * (1 - t * t)


def log_odds(f: F64, positions: NDArray[np.integer]) -> F64:
    """Return the log-odds of n shown items, but for their lists' intercepts."""
    odds: F64 = f + POSITION * np.log1p(positions)
    return odds


class ItemStrength:
    """The strength of every item.

    Attributes
    ----------
    own, own_information
        ``b`` by catalogue row and the information behind it, prior included.
    tokens, token_information
        ``v`` by token number and the information behind it.
    weights, covariance
        ``w`` (D,) and its covariance (D, D).
    """

    def __init__(self) -> None:
        self.own = Column(np.float64, fill=0)
        self.own_information = Column(np.float64, fill=ITEM_PRIOR)
        self.tokens = Column(np.float64, fill=0)
        self.token_information = Column(np.float64, fill=TOKEN_PRIOR)
        self.weights: F64 = np.zeros(0)
        self.covariance: F64 = np.zeros((0, 0))

    def carry(self, a: F64) -> None:
        """Express ``w`` on new scales, given :attr:`models.item_space.Carry.phi`.

        ``w' = A w``, ``P' = A P A' + VARIANCE (I - A A+)``: directions that the
        old scales did not have begin with the prior.
        """
        self._widen(a.shape[1])
        beyond = np.eye(len(a)) - a @ np.linalg.pinv(a)
        self.weights = a @ self.weights
        covariance = a @ self.covariance @ a.T + VARIANCE * beyond
        self.covariance = (covariance + covariance.T) / 2

    def of(self, items: Described) -> F64:
        """Return ``f`` of n items: (n,)."""
        self._grow(items)
        return self._of(items)

    def _of(self, items: Described) -> F64:
        said = np.bincount(items.at, self.tokens.rows[items.token], minlength=len(items))
        f: F64 = self.own.rows[items.rows] + said / items.root
        return f + items.phi @ self.weights

    def learn(self, items: Described, taken: NDArray[np.bool_], taste: F64) -> F64:
        """Learn from one shown list, in shown order, and what was taken of it.

        Parameters
        ----------
        items
            The n items of the list, and any others.
        taken
            (n,) what was taken.
        taste
            (n,) what the user's own taste said of them when they were shown;
            what it explains is not the items' doing.

        Returns
        -------
        f
            Strengths of all ``items`` as they were before.
        """
        n = len(taken)
        f = self.of(items)
        r, w = _residuals_of_one(log_odds(f[:n] + taste, np.arange(n)), taken)
        self._learn_weights(items.phi[:n], r, w)
        rows, root = items.rows[:n], items.root[:n]
        np.add.at(self.own_information.rows, rows, w)
        np.add.at(self.own.rows, rows, r / self.own_information.rows[rows])
        end = int(np.searchsorted(items.at, n))
        share, token = items.at[:end], items.token[:end]
        np.add.at(self.token_information.rows, token, (w / root**2)[share])
        step = (r / root)[share] / self.token_information.rows[token]
        np.add.at(self.tokens.rows, token, step)
        return f

    def _learn_weights(self, phi: F64, r: F64, w: F64) -> None:
        """Update ``w`` by one block step of the extended Kalman filter.

        Features are centred with the weights of information, which takes the
        uncertainty of the list's intercept out of the step.
        """
        centred = phi - (w @ phi) / w.sum()
        reach = centred @ self.covariance
        innovation = reach @ centred.T
        innovation[np.diag_indices(len(w))] += 1 / w
        gain = solve_lower(innovation, reach)
        self.weights = self.weights + (r / w) @ gain
        covariance = self.covariance - reach.T @ gain
        self.covariance = (covariance + covariance.T) / 2

    def state(self, rows: I64, tokens: I64) -> Arrays:
        """Return what was learned, of these rows and tokens alone."""
        self._grow_own(rows)
        return {
            "own": self.own.rows[rows],
            "own_information": self.own_information.rows[rows],
            "tokens": self.tokens.rows[tokens],
            "token_information": self.token_information.rows[tokens],
            "weights": self.weights,
            "covariance": self.covariance,
        }

    def touched(self) -> I64:
        """Return the numbers of the tokens that anything was learned of."""
        return np.flatnonzero(self.token_information.rows > TOKEN_PRIOR)

    def restore(self, arrays: Arrays, rows: I64, tokens: I64) -> None:
        """Continue from a checkpoint, given the rows and tokens as they are now; -1 is gone."""
        self._grow_own(rows)
        self.own.rows[rows] = arrays["own"]
        self.own_information.rows[rows] = arrays["own_information"]
        here = tokens >= 0
        self.tokens.grow(int(tokens.max(initial=-1)) + 1)
        self.token_information.grow(int(tokens.max(initial=-1)) + 1)
        self.tokens.rows[tokens[here]] = arrays["tokens"][here]
        self.token_information.rows[tokens[here]] = arrays["token_information"][here]
        self.weights, self.covariance = arrays["weights"], arrays["covariance"]

    def _grow(self, items: Described) -> None:
        self._grow_own(items.rows)
        size = int(items.token.max(initial=-1)) + 1
        self.tokens.grow(size)
        self.token_information.grow(size)
        self._widen(items.phi.shape[1])

    def _grow_own(self, rows: I32 | I64) -> None:
        size = int(rows.max(initial=-1)) + 1
        self.own.grow(size)
        self.own_information.grow(size)

    def _widen(self, width: int) -> None:
        """Begin with the prior where nothing was asked yet."""
        if len(self.weights) < width:
            self.weights = np.zeros(width)
            self.covariance = np.eye(width) * VARIANCE
