"""What a run of training learns from, and its batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.interactions import Interactions
from models.sequence import Batch
from stream.errors import ModelError

__all__ = ["Material", "batch_of", "log_shares", "split"]

Places = NDArray[np.integer]


@dataclass(frozen=True, slots=True)
class Material:
    """What a run learns from.

    Attributes
    ----------
    data
        All interactions known, of the window and before.
    queries
        (Q, content_dim) vectors of its queries, unit rows.
    since_ms
        Where the window begins; of what was before only a sample is trained on.
    items
        Names of the catalogue's items by row: an interrupted run finds them again by these.
    parent
        The version of the model that the run starts from, "" where from none.
    encoder
        The version of the text encoder whose vectors are read.
    """

    data: Interactions
    queries: NDArray[np.float32]
    since_ms: int = 0
    items: Sequence[str] = ()
    parent: str = ""
    encoder: str = ""

    @property
    def until_ms(self) -> int:
        """The time of the last interaction."""
        return int(self.data.time.max(initial=0))

    def mark(self) -> dict[str, int | str]:
        """Return what tells it from other material."""
        return {
            "since_ms": self.since_ms,
            "until_ms": self.until_ms,
            "interactions": len(self.data),
            "parent": self.parent,
            "encoder": self.encoder,
        }


def batch_of(data: Interactions, at: Places, queries: Tensor, after: Places) -> Batch:
    """Return windows as the network reads them.

    Parameters
    ----------
    data
        The columns.
    at, after
        (B, L) places in the columns of the interactions and of what followed, -1 for padding.
    queries
        (Q, content_dim) vectors of ``data.queries``.
    """
    there = at >= 0
    gap = np.where(there, data.time[after] - data.time[at], 0) / 1000
    return Batch(
        items=torch.from_numpy(np.where(there, data.item[at], -1).astype(np.int64)),
        weight=torch.from_numpy(np.where(there, data.weight[at], 0).astype(np.float32)),
        gap_s=torch.from_numpy(gap.astype(np.float32)),
        query=torch.from_numpy(np.where(there, data.query[after], -1).astype(np.int64)),
        queries=queries,
    )


def split(
    material: Material, holdout: float, past: float, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which interactions are trained on, and which are held out: (E,) each.

    Parameters
    ----------
    material
        The interactions.
    holdout
        Share of the window, its end, that is held out.
    past
        Interactions from before the window per one of it, of users drawn at random.
    seed
        Of that.

    Raises
    ------
    ModelError
        There is nothing to learn from.
    """
    data = material.data
    positive = data.weight > 0
    items = len(np.unique(data.item[positive]))
    if items < 2:  # noqa: PLR2004
        raise ModelError(
            f"{int(positive.sum())} positive interactions with {items} items are too few to learn",
            "publish more events; `rillet validate` says what a log's events count for",
        )
    window = positive & (data.time >= material.since_ms)
    times = np.sort(data.time[window])
    if not len(times):
        raise ModelError(
            "nothing new was taken since the current model was trained",
            "wait for more events, or begin anew: `rillet train --anew`",
        )
    until = times[min(len(times) - 1, int(len(times) * (1 - holdout)))]
    held = window & (data.time > until)
    fit = window & ~held
    before = np.flatnonzero(positive & (data.time < material.since_ms))
    rng = np.random.default_rng((seed, 0))
    users = rng.permutation(int(data.user.max()) + 1)[data.user[before]]
    fit[before[np.argsort(users, kind="stable")[: int(past * fit.sum())]]] = True
    return fit, held


def log_shares(data: Interactions, n: int) -> Tensor:
    """Return the logarithm of each item's share of the interactions, none of them 0: (N,)."""
    counts = np.bincount(data.item, minlength=n)[:n] + 1.0
    return torch.from_numpy(np.log(counts / counts.sum()))
