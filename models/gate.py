"""Whether a candidate model may take the current one's place.

Both answer the same questions; each question gives one value a model, such as
NDCG@10. What counts is the mean of the differences, and how sure it is: by the
paired bootstrap (Efron and Tibshirani 1993, An Introduction to the Bootstrap,
doi:10.1201/9780429246593; for comparing two systems on one test set Koehn
2004, https://aclanthology.org/W04-3250). Users are drawn, not questions: those
of one user are alike, and drawn alone they would look like more evidence than
they are (Cameron, Gelbach and Miller 2008, doi:10.1162/rest.90.3.414).

Over all questions the candidate has to prove that it is not worse. A group has
the veto: it refuses a candidate that is shown to be worse for it. Were a group
to demand a proof as well, chance would refuse most good candidates, for groups
are small.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from stream.settings import TrainingSettings

__all__ = [
    "DECIDES",
    "MIN_QUESTIONS",
    "Chosen",
    "Comparison",
    "Pair",
    "Questions",
    "Verdict",
    "compare",
    "judge",
]

F64 = NDArray[np.float64]
Bools = NDArray[np.bool_]

DECIDES: Final = "ndcg@10"
"""The value that decides; others are compared and have no vote."""

ROUNDS: Final = 2000
"""Bootstrap samples: their 5 % quantile then scatters by 3 % of its distance from the mean."""

MIN_QUESTIONS: Final = 50
MIN_USERS: Final = 20
"""Fewer drawn again and again look less scattered than they are, so they do not vote."""

ALL: Final = "all"


@dataclass(frozen=True, slots=True)
class Questions:
    """Who was asked: Q questions.

    Attributes
    ----------
    users
        Whose question it is: (Q,), names or numbers.
    groups
        By name, which questions are about it: (Q,) each, such as ``cold users``
        and ``cold items``. Each has the veto.
    """

    users: NDArray[Any]
    groups: Mapping[str, Bools]


@dataclass(frozen=True, slots=True)
class Pair:
    """One value of both models for all questions: (Q,) each."""

    value: str
    candidate: F64
    current: F64


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which of the questions are compared: ``rows`` (Q,), of ``users`` (Q,)."""

    group: str
    users: NDArray[Any]
    rows: Bools


class Comparison(Struct, frozen=True):
    """One value of two models over the same questions.

    Attributes
    ----------
    group, value
        Over which questions, of which value.
    questions, users
        How many.
    candidate, current
        The means.
    difference
        Candidate - current.
    low, high
        Ends of the one-sided intervals of the difference: with confidence
        ``training.sure`` it is above ``low``, and with the same below ``high``.
    worse
        Share of the samples in which the candidate is worse.
    """

    group: str
    value: str
    questions: int
    users: int
    candidate: float
    current: float
    difference: float
    low: float
    high: float
    worse: float

    @property
    def votes(self) -> bool:
        """Whether there are enough questions, of enough users, to say anything."""
        return self.questions >= MIN_QUESTIONS and self.users >= MIN_USERS


class Verdict(Struct, frozen=True):
    """What the gate says: ``reasons`` in words, ``comparisons`` in numbers."""

    promote: bool
    reasons: list[str]
    comparisons: list[Comparison] = []


def judge(
    candidate: Mapping[str, F64],
    current: Mapping[str, F64] | None,
    questions: Questions,
    settings: TrainingSettings,
    seed: int = 0,
) -> Verdict:
    """Say whether the candidate may take the current model's place.

    Parameters
    ----------
    candidate, current
        Values by name, (Q,) each: ``ndcg@10`` and any others. ``current`` is None
        where there is no model yet.
    questions
        Whose they are, and about which groups.
    settings
        How sure, and what may be lost: ``tolerance`` is a share of the current
        model's mean, since what a difference of 0.002 means depends on whether
        the mean is 0.02 or 0.3.
    seed
        Of the bootstrap: the same gives the same verdict.

    Raises
    ------
    ValueError
        ``ndcg@10`` is missing, or something has not one finite number a question.

    Examples
    --------
    >>> asked = Questions(np.arange(100), {})
    >>> same = {"ndcg@10": np.full(100, 0.2)}
    >>> judge(same, same, asked, TrainingSettings()).promote
    True
    """
    if current is None:
        return Verdict(True, ["there is no current model"])
    names = [DECIDES, *(name for name in candidate if name != DECIDES and name in current)]
    pairs = [_pair(name, candidate, current, questions) for name in names]
    groups = {ALL: np.ones(len(questions.users), dtype=bool), **questions.groups}
    if any(rows.shape != questions.users.shape for rows in groups.values()):
        raise ValueError("a group needs one truth value a question")
    compared = [
        compare(pairs, Chosen(group, questions.users, rows), settings.sure, (seed, place))
        for place, (group, rows) in enumerate(groups.items())
    ]
    voices = [_overall(compared[0][0], settings)]
    voices += [_veto(group[0], settings) for group in compared[1:]]
    refusals = [words for good, words in voices if not good]
    reasons = refusals or [words for _, words in voices]
    return Verdict(not refusals, reasons, [one for group in compared for one in group])


def _pair(
    name: str, candidate: Mapping[str, F64], current: Mapping[str, F64], questions: Questions
) -> Pair:
    for side, values in (("the candidate", candidate), ("the current model", current)):
        if name not in values:
            raise ValueError(f"{side} has no {name}, which decides")
        if values[name].shape != questions.users.shape or not np.isfinite(values[name]).all():
            raise ValueError(f"{name}: {side} needs one finite number a question")
    both = [np.asarray(of[name], dtype=np.float64) for of in (candidate, current)]
    return Pair(name, both[0], both[1])


def compare(
    pairs: Sequence[Pair], chosen: Chosen, sure: float, seed: tuple[int, int] = (0, 0)
) -> list[Comparison]:
    """Compare two models by the paired bootstrap over users, each value on the same samples.

    Parameters
    ----------
    pairs
        Values of both models for all questions.
    chosen
        Over which of the questions.
    sure
        Confidence of each one-sided interval.
    seed
        Of the draw.
    """
    found, user = np.unique(chosen.users[chosen.rows], return_inverse=True)
    candidate = np.array([pair.candidate[chosen.rows] for pair in pairs])
    current = np.array([pair.current[chosen.rows] for pair in pairs])
    drawn = _drawn(candidate - current, user, len(found), seed)
    low, high = np.quantile(drawn, (1 - sure, sure), axis=0)
    return [
        Comparison(
            group=chosen.group,
            value=pair.value,
            questions=len(user),
            users=len(found),
            candidate=_mean(candidate[place]),
            current=_mean(current[place]),
            difference=_mean(candidate[place] - current[place]),
            low=float(low[place]),
            high=float(high[place]),
            worse=float((drawn[:, place] < 0).mean()),
        )
        for place, pair in enumerate(pairs)
    ]


def _drawn(difference: F64, user: NDArray[np.intp], n: int, seed: tuple[int, int]) -> F64:
    """Return the means of samples of n users drawn with replacement: (V, Q) -> (ROUNDS, V)."""
    if not n:
        return np.zeros((ROUNDS, len(difference)))
    questions = np.bincount(user, minlength=n)
    columns = [questions, *(np.bincount(user, row, n) for row in difference)]
    table = np.stack(columns, axis=1).astype(np.float64)
    rng = np.random.default_rng(seed)
    sums = np.empty((ROUNDS, table.shape[1]))
    for place in range(ROUNDS):
        # How often each was drawn, times what is his: faster than to gather what was drawn.
        times = np.bincount(rng.integers(0, n, n), minlength=n)
        sums[place] = times.astype(np.float64) @ table
    return sums[:, 1:] / sums[:, :1]


def _mean(values: F64) -> float:
    return float(values.mean()) if len(values) else 0.0


def _overall(one: Comparison, settings: TrainingSettings) -> tuple[bool, str]:
    """Tell whether the candidate has proved over all questions that it is not worse."""
    if not one.votes:
        return False, f"{_asked(one)} are too few to tell"
    margin = settings.tolerance * one.current
    words = f"{_means(one)}; with {_percent(settings)} confidence"
    if one.low >= -margin:
        return True, f"{words} it loses no more than {margin:.4f}"
    return False, f"{words} it may lose {-one.low:.4f}, more than {margin:.4f}"


def _veto(one: Comparison, settings: TrainingSettings) -> tuple[bool, str]:
    """Tell whether a group has nothing against the candidate."""
    if not one.votes:
        return True, f"{one.group}: {_asked(one)} are too few to vote"
    margin = settings.tolerance * one.current
    if one.high >= -margin:
        return True, f"{_means(one)}; not shown to be worse"
    return False, f"{_means(one)}; worse by more than {margin:.4f}, {_percent(settings)} sure"


def _percent(settings: TrainingSettings) -> str:
    return f"{settings.sure * 100:g} %"


def _asked(one: Comparison) -> str:
    return f"{one.questions:,} questions of {one.users:,} users"


def _means(one: Comparison) -> str:
    means = f"{one.candidate:.4f} against {one.current:.4f} ({one.difference:+.4f})"
    return f"{one.group}: {one.value} {means} over {_asked(one)}"
