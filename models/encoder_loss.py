"""The contrastive loss of the text encoder, as the sources ``content`` and ``query`` read it.

InfoNCE (van den Oord, Li and Vinyals 2018, https://arxiv.org/abs/1807.03748)
over the items of a batch: each question's item against all others. Popular
items are in more batches and would be pushed away more often; the logarithm of
how often an item is drawn is taken off (Bengio and Senecal 2008,
doi:10.1109/TNN.2007.912312; for batches Yi et al. 2019,
doi:10.1145/3298689.3346996).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from models.encoder_pairs import I64, Pairs

__all__ = ["Batch", "batch_of", "centred", "contrast"]

_LEAST: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Batch:
    """Q questions about n distinct items, by place among these.

    Attributes
    ----------
    items
        (n,) rows of the items, each once.
    past, weight
        (Q, PAST) places of the past, and how much each counts.
    target
        (Q,) place of the item taken.
    closed
        (Q, n) what is no negative: the question's own past.
    query, queries
        (Q,) place in ``queries``, -1 for none; numbers of the distinct queries.
    share
        (Q,) how much a question counts.
    """

    items: I64
    past: Tensor
    weight: Tensor
    target: Tensor
    closed: Tensor
    query: Tensor
    queries: I64
    share: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return it with its tensors on a device."""
        moved = {name: value.to(device) for name, value in self._tensors().items()}
        return replace(self, **moved)

    def asking(self) -> Batch:
        """Return the questions that have a query."""
        rows = self.query >= 0
        return replace(self, **{name: value[rows] for name, value in self._tensors().items()})

    def _tensors(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def batch_of(pairs: Pairs) -> Batch:
    """Return questions by the place of their items, each of which is then encoded once."""
    there = pairs.weight > 0
    items = np.unique(np.concatenate([pairs.past[there], pairs.target]))
    past = np.where(there, np.searchsorted(items, np.where(there, pairs.past, items[0])), 0)
    target = np.searchsorted(items, pairs.target)
    closed = np.zeros((len(pairs), len(items)), dtype=bool)
    rows, columns = np.nonzero(there)
    closed[rows, past[rows, columns]] = True
    queries, query = np.unique(pairs.query, return_inverse=True)
    first = int(np.searchsorted(queries, 0))
    return Batch(
        items=items,
        past=torch.from_numpy(past),
        weight=torch.from_numpy(pairs.weight),
        target=torch.from_numpy(target),
        closed=torch.from_numpy(closed),
        query=torch.from_numpy(query.reshape(-1) - first),
        queries=queries[first:],
        share=torch.from_numpy(pairs.share),
    )


def centred(vectors: Tensor, mean: Tensor) -> Tensor:
    """Return vectors (n, dim) less the catalogue's mean (dim,), at unit length."""
    moved = vectors - mean
    return torch.nn.functional.normalize(moved, dim=1, eps=_LEAST)


def contrast(
    batch: Batch, vectors: Tensor, mean: Tensor, asked: Tensor, by: tuple[Tensor, float]
) -> Tensor:
    """Return the summed loss of the questions, those with a query asked twice.

    Parameters
    ----------
    batch
        The questions.
    vectors
        (n, dim) unit vectors of the batch's items.
    mean
        (dim,) mean of the catalogue's vectors.
    asked
        (m, dim) unit vectors of the batch's queries; none leaves queries out.
    by
        (n,) what is taken off each item's logit for being popular; the temperature.
    """
    popular, temperature = by
    around = centred(vectors, mean)
    taste = (batch.weight[:, :, None] * around[batch.past]).sum(dim=1)
    taste = torch.nn.functional.normalize(taste, dim=1, eps=_LEAST)
    loss = _each(taste @ around.T / temperature - popular, batch)
    total = (loss * batch.share).sum()
    asking = batch.asking()
    if len(asked) and len(asking.query):
        logits = asked[asking.query] @ vectors.T / temperature - popular
        total = total + (_each(logits, asking) * asking.share).sum()
    return total


def _each(logits: Tensor, batch: Batch) -> Tensor:
    """Return the cross-entropy of each question: (Q,)."""
    open_ = logits.masked_fill(batch.closed, -torch.inf)
    return torch.nn.functional.cross_entropy(open_, batch.target, reduction="none")
