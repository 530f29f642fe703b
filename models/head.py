"""One River learner with a weight vector for each segment of users.

A linear score over the features of a (user, item) pair. Every feature has one
shared weight and one deviation per segment (no history, first item of a
visit, ...), all learned by River, one example at a time; scoring reads them as
one matrix and is one product.

There are two things to learn from. Yes or no: the score is the log-odds of a
positive (:meth:`Head.learn`). Or which one of many was taken: chances are
proportional to the exponential of the score (:meth:`Head.choose`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from river import linear_model, optim, utils

from stream.errors import ModelError

__all__ = ["Head", "HeadState"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


class HeadState(Struct, frozen=True):
    """What a learner's checkpoint holds: nothing that needs unpickling.

    Attributes
    ----------
    weights, squares
        Weight and AdaGrad's sum of squared gradients, by feature name.
    examples
        Examples learned from.
    moved
        Whether the weights are how far they were moved from the prior, as one of many
        partitions has moved them (:mod:`models.sharing`), and not the weights themselves.
    """

    weights: dict[str, float]
    squares: dict[str, float]
    examples: int
    moved: bool = False


class _Gain(optim.losses.BinaryLoss):
    """The negative of the score: for examples whose direction is already the gradient."""

    def __call__(self, y_true: Any, y_pred: Any) -> Any:
        """Return the loss."""
        return -y_pred

    def gradient(self, y_true: Any, y_pred: Any) -> Any:
        """Return the derivative by the score."""
        return -1.0

    def mean_func(self, y_pred: Any) -> Any:
        """Return the chance that a score stands for beside a score of 0."""
        return 1 / (1 + np.exp(-y_pred))


class _AdaGrad(optim.AdaGrad):
    """River's AdaGrad over arrays; squared gradients count for ``crowd`` learners of the like."""

    def __init__(self, rate: float, size: int) -> None:
        super().__init__(rate)
        self.crowd = 1.0
        self.squares: F64 = np.zeros(size)

    def _step_with_vector(self, w: Any, g: Any) -> Any:
        self.squares += self.crowd * (g * g)
        w -= self.learning_rate / np.sqrt(self.squares + self.eps) * g
        return w


class _Regression(linear_model.LogisticRegression):
    """River's logistic regression with its weights in one array, by place instead of by name.

    River's optimizers and losses take arrays; only the gradient and the mode in which it learns
    are written for dictionaries, whose making costs several times what River reckons with them.
    As there, a feature that is 0 in an example is none of it: ridge leaves its weight alone.
    """

    def __init__(self, steps: _AdaGrad, loss: optim.losses.BinaryLoss, l2: float) -> None:
        super().__init__(steps, loss, l2=l2, intercept_lr=0.0)
        weights: Any = np.zeros(len(steps.squares))  # River declares a dictionary's type
        self._weights = weights

    @property
    def weights(self) -> F64:
        """All weights; a view."""
        weights: Any = self._weights
        return np.asarray(weights)

    def _enter_learn_mode(self, mask: Any = None) -> Any:
        return self._weights

    def _eval_gradient_one(self, x: Any, y: Any, w: float) -> tuple[Any, float]:
        slope = self.loss.gradient(y_true=y, y_pred=self._raw_dot_one(x)) * w
        slope = float(utils.math.clamp(slope, -self.clip_gradient, self.clip_gradient))
        gradient = x * slope
        if self.l2:
            gradient += self.l2 * (self.weights * (x != 0))
        return gradient, slope


class Head:
    """A logistic regression over named features with segments.

    Parameters
    ----------
    names
        F feature names.
    segments
        Number of segments G.
    learning_rate, l2
        AdaGrad's step and the ridge penalty.
    prior
        Initial shared weights by feature name, so that the first lists make sense.
    choices
        Whether it learns by :meth:`choose`; else by :meth:`learn`.

    Examples
    --------
    >>> head = Head(["near", "bias"], segments=2, learning_rate=0.5, l2=0.0)
    >>> x, y = np.array([[1.0, 1.0], [0.0, 1.0]] * 50, np.float32), [True, False] * 50
    >>> head.learn(x, np.zeros(100, np.int32), y)
    >>> chance = 1 / (1 + np.exp(-head.score(x[:2], np.zeros(2, np.int32))))
    >>> bool(chance[0] > 0.7 and chance[1] < 0.3)
    True
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        segments: int,
        learning_rate: float,
        l2: float,
        prior: Mapping[str, float] | None = None,
        choices: bool = False,
    ) -> None:
        self.names = tuple(names)
        self.segments = segments
        self.examples = 0
        own = (f"{group}|{name}" for group in range(segments) for name in self.names)
        self.all_names = (*self.names, *own)
        loss = _Gain() if choices else optim.losses.Log()
        self._steps = _AdaGrad(learning_rate, len(self.all_names))
        self._model = _Regression(self._steps, loss, l2)
        self._fill(prior or {}, {})

    @property
    def crowd(self) -> float:
        """How many learners each squared gradient counts for, at least 1."""
        return self._steps.crowd

    @crowd.setter
    def crowd(self, learners: float) -> None:
        self._steps.crowd = learners

    def vectors(self) -> tuple[F64, F64]:
        """Return all weights and all sums of squared gradients, in the order of their names."""
        return self._model.weights.copy(), self._steps.squares.copy()

    def assume(self, weights: F64, squares: F64) -> None:
        """Go on from all weights and all sums of squared gradients, in the order of their names."""
        self._model.weights[:] = weights
        self._steps.squares[:] = squares

    def _fill(self, weights: Mapping[str, float], squares: Mapping[str, float]) -> None:
        self.assume(
            np.array([weights.get(name, 0.0) for name in self.all_names], dtype=np.float64),
            np.array([squares.get(name, 0.0) for name in self.all_names], dtype=np.float64),
        )

    def learn(
        self, x: F32, segment: I32, y: Sequence[bool], w: Sequence[float] | None = None
    ) -> None:
        """Learn from n examples in order.

        Parameters
        ----------
        x
            (n, F) features.
        segment
            (n,) segment of each example.
        y
            n labels.
        w
            n weights; 1 each where None.
        """
        weights = w if w is not None else [1.0] * len(y)
        for example, label, weight in zip(self._examples(x, segment), y, weights, strict=True):
            self._model.learn_one(example, bool(label), w=weight)
        self.examples += len(y)

    def choose(self, x: F32, group: int, chosen: int) -> float:
        """Learn from one choice among n candidates.

        The gradient of the log-likelihood of a conditional logit (McFadden 1974,
        "Conditional logit analysis of qualitative choice behavior") is the chosen
        candidate's features less their expectation under the present chances; so
        that difference is the one example which River learns from.

        Parameters
        ----------
        x
            (n, F) features of the candidates.
        group
            Their segment.
        chosen
            Which of them was taken.

        Returns
        -------
        loss
            Negative log-likelihood of the choice before it was learned from.
        """
        odds = x.astype(np.float64) @ self.matrix()[group]
        chances = np.exp(odds - odds.max())
        chances /= chances.sum()
        surplus = x[chosen] - chances @ x
        self._model.learn_one(self._examples(surplus[None], np.array([group]))[0], True)
        self.examples += 1
        return float(-np.log(max(chances[chosen], 1e-300)))

    def _examples(self, x: NDArray[Any], segment: NDArray[Any]) -> F64:
        """Return n examples with a place for every weight, (n, F x (1 + G))."""
        n = len(x)
        examples = np.zeros((n, 1 + self.segments, len(self.names)))
        examples[:, 0] = examples[np.arange(n), 1 + segment] = x
        return examples.reshape(n, -1)

    def chance(self, values: Sequence[float], group: int) -> float:
        """Return River's own prediction for one example."""
        example = self._examples(np.array([values]), np.array([group]))[0]
        chances = self._model.predict_proba_one(example)  # type: ignore[no-untyped-call]
        return float(chances[True])

    def matrix(self) -> F64:
        """Return the effective weights, (G, F)."""
        weights = self._model.weights.reshape(1 + self.segments, len(self.names))
        effective: F64 = weights[0] + weights[1:]
        return effective

    def score(self, x: F32, segment: I32) -> F64:
        """Return the log-odds of n pairs: (n,)."""
        odds: F64 = np.einsum("nf,nf->n", x.astype(np.float64), self.matrix()[segment])
        return odds

    def state(self) -> HeadState:
        """Return what a checkpoint needs."""
        weights, squares = (
            {
                name: value
                for name, value in zip(self.all_names, values.tolist(), strict=True)
                if value
            }
            for values in (self._model.weights, self._steps.squares)
        )
        return HeadState(weights, squares, self.examples)

    def restore(self, state: HeadState) -> None:
        """Continue from a checkpoint.

        Raises
        ------
        ModelError
            The checkpoint knows features that this head lacks.
        """
        unknown = sorted(set(state.weights) - set(self.all_names))
        if unknown:
            raise ModelError(
                f"the learner's checkpoint has unknown features: {', '.join(unknown[:5])}",
                "it was written by another version; delete the key and let it learn anew",
            )
        self._fill(state.weights, state.squares)
        self.examples = state.examples
