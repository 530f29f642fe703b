"""Ranking metrics, kept as the stream passes: HR, NDCG, MRR, coverage, by group."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HISTORY_BUCKETS",
    "NextMeter",
    "RerankMeter",
    "by_decile",
    "history_bucket",
    "mean_rank",
    "ndcg_at",
]

HISTORY_BUCKETS = ("0", "1-4", "5-29", "30+")


def history_bucket(length: int) -> str:
    """Return the bucket of a user with so many interactions behind him.

    Examples
    --------
    >>> [history_bucket(n) for n in (0, 4, 5, 100)]
    ['0', '1-4', '5-29', '30+']
    """
    return HISTORY_BUCKETS[sum(length >= first for first in (1, 5, 30))]


def mean_rank(scores: NDArray[np.floating], target: int) -> float:
    """Return the 1-based rank of ``scores[target]``, ties sharing their mean rank.

    Examples
    --------
    >>> mean_rank(np.array([0.5, 0.9, 0.5, 0.1]), 2)
    2.5
    """
    score = scores[target]
    return float((scores > score).sum() + (np.count_nonzero(scores == score) + 1) / 2)


def ndcg_at(relevant: Sequence[bool], k: int = 10) -> float:
    """Return NDCG@k of one list with binary gains, against its own ideal order.

    Source: Jarvelin and Kekalainen 2002, doi:10.1145/582415.582418.

    Examples
    --------
    >>> round(ndcg_at([False, True, True]), 4)
    0.6934
    """
    discount = 1 / np.log2(np.arange(2, len(relevant) + 2))
    gains = np.asarray(relevant, dtype=np.float64)
    ideal = np.sort(gains)[::-1]
    best = (ideal * discount)[:k].sum()
    return float((gains * discount)[:k].sum() / best) if best else 0.0


def by_decile(counts: NDArray[np.integer], popularity: NDArray[np.integer]) -> list[float]:
    """Return the share of counts that each tenth of the items has, the most popular first.

    Examples
    --------
    >>> by_decile(np.array([6, 2, 0, 0]), np.array([9, 1, 0, 0]))
    [0.75, 0.25, 0.0, 0.0]
    """
    order = np.argsort(-popularity, kind="stable")
    tenths = np.array_split(counts[order], min(10, len(counts)))
    total = max(1, int(counts.sum()))
    return [float(tenth.sum() / total) for tenth in tenths]


class NextMeter:
    """Collects ranks of the items taken next.

    Parameters
    ----------
    k
        Length of the list that counts as a hit.
    """

    def __init__(self, k: int = 10) -> None:
        self.k = k
        self._ranks: list[float] = []
        self._users: list[str] = []
        self._buckets: list[str] = []
        self._times: list[int] = []
        self._listed = np.zeros(0, dtype=np.int64)
        self.catalogue = 1

    def __len__(self) -> int:
        """Return how many ranks were collected."""
        return len(self._ranks)

    def add(self, rank: float, user: str, history: int, time_ms: int) -> None:
        """Record one prediction's 1-based rank, with whose it was and how long his history."""
        self._ranks.append(rank)
        self._users.append(user)
        self._buckets.append(history_bucket(history))
        self._times.append(time_ms)

    def listed(self, items: NDArray[np.integer], catalogue: int) -> None:
        """Note the items of top lists, by catalogue row, and the size of the catalogue."""
        self.catalogue = max(self.catalogue, catalogue)
        counts = np.bincount(items[items >= 0], minlength=len(self._listed))
        counts[: len(self._listed)] += self._listed
        self._listed = counts

    def _gains(self) -> dict[str, NDArray[np.float64]]:
        ranks = np.array(self._ranks)
        hit = ranks <= self.k
        return {
            f"hr@{self.k}": hit.astype(np.float64),
            f"ndcg@{self.k}": np.where(hit, 1 / np.log2(ranks + 1), 0.0),
            "mrr": 1 / ranks,
        }

    def summary(self) -> dict[str, float]:
        """Return the means over predictions, the means over users, and coverage."""
        if not self._ranks:
            return {"n": 0}
        gains = self._gains()
        report = {"n": len(self._ranks)} | {name: float(g.mean()) for name, g in gains.items()}
        report["coverage"] = int(np.count_nonzero(self._listed)) / self.catalogue
        _, user = np.unique(self._users, return_inverse=True)
        for name, gain in gains.items():
            report[f"user_{name}"] = float((np.bincount(user, gain) / np.bincount(user)).mean())
        return report

    def by_history(self) -> dict[str, dict[str, float]]:
        """Return the means of each history bucket that has any prediction."""
        if not self._ranks:
            return {}
        gains, buckets = self._gains(), np.array(self._buckets)
        report = {}
        for bucket in HISTORY_BUCKETS:
            rows = buckets == bucket
            if rows.any():
                means = {name: float(gain[rows].mean()) for name, gain in gains.items()}
                report[bucket] = {"n": int(rows.sum())} | means
        return report

    def popularity(self, taken: NDArray[np.integer]) -> dict[str, Any]:
        """Return how far lists go to what everybody takes anyway.

        Parameters
        ----------
        taken
            (N,) how often each item was taken, by catalogue row.

        Returns
        -------
        dict
            ``novelty``, bits: the mean of -log2 of the chance that a positive is of the listed
            item, one being added to every count (Vargas and Castells 2011,
            doi:10.1145/2043932.2043955). ``deciles``: the share of listed places that each tenth
            of the catalogue has, the most popular tenth first. Empty where nothing was listed.
        """
        listed = np.zeros(len(taken), dtype=np.int64)
        listed[: len(self._listed)] = self._listed[: len(taken)]
        if not listed.any():
            return {}
        chance = (taken + 1) / (taken.sum() + len(taken))
        novelty = float(np.average(-np.log2(chance), weights=listed))
        return {"novelty": novelty, "deciles": by_decile(listed, taken)}

    def over_time(self, points: int = 40) -> tuple[list[int], list[float]]:
        """Return (epoch ms, HR@k) of equal slices of the predictions, in time order."""
        hits = [float(rank <= self.k) for rank in self._ranks]
        slices = np.array_split(np.arange(len(hits)), min(points, max(1, len(hits) // 50)))
        filled = [s for s in slices if len(s)]
        return (
            [self._times[int(s[-1])] for s in filled],
            [float(np.mean([hits[int(at)] for at in s])) for s in filled],
        )


class RerankMeter:
    """Collects the quality of shown lists, reordered or not."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = defaultdict(list)
        self._times: list[int] = []

    def __len__(self) -> int:
        """Return how many lists were collected."""
        return len(self._values["ndcg@10"])

    def add(self, scores: NDArray[np.floating], taken: NDArray[np.bool_], time_ms: int) -> None:
        """Record one list: scores in shown order (ties keep it) and what was taken."""
        order = np.argsort(-scores, kind="stable")
        relevant = taken[order]
        self._values["ndcg@10"].append(ndcg_at(relevant.tolist()))
        self._values["mrr"].append(float(1 / (1 + int(np.argmax(relevant)))))
        self._times.append(time_ms)

    def summary(self) -> dict[str, float]:
        """Return the means over lists."""
        means = {name: float(np.mean(values)) for name, values in self._values.items() if values}
        return {"n": len(self)} | means

    def over_time(self, points: int = 40) -> tuple[list[int], list[float]]:
        """Return (epoch ms, NDCG@10) of equal slices of the lists, in time order."""
        values = np.array(self._values["ndcg@10"])
        slices = np.array_split(np.arange(len(values)), min(points, max(1, len(values) // 20)))
        filled = [s for s in slices if len(s)]
        return [self._times[int(s[-1])] for s in filled], [float(values[s].mean()) for s in filled]
