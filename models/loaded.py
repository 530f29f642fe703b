"""A sequence model as a process serves it: over its catalogue, with its items' vectors at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray

from features.contexts import Contexts
from models.near import NearIndex
from models.nearby import FOUND, LARGE
from models.precision import Serve, serving_dtype
from models.sequence import Batch, SequenceModel
from models.sources.base import QueryVectors

__all__ = ["Loaded"]

F32 = NDArray[np.float32]

ROWS: Final = 32
"""Sequences computed at once: of more, what is between two layers leaves the processor's caches."""


@dataclass(slots=True)
class Loaded:
    """A model that is served.

    Attributes
    ----------
    model
        Over this process' catalogue, as it was when the model was loaded.
    version
        Its name in the registry.
    vectors
        (N, content_dim) content vectors of the catalogue's items.
    seen
        Version and size that the catalogue had then.
    table
        (N, dim) vectors of its items, as the model sees them.
    dtype
        What its layers compute in: see :func:`models.precision.serving_dtype`.
    index
        Finds items; None where there are few.
    """

    model: SequenceModel
    version: str
    vectors: F32
    seen: tuple[int, int]
    table: torch.Tensor
    dtype: torch.dtype
    index: NearIndex | None

    @classmethod
    def of(
        cls,
        model: SequenceModel,
        version: str,
        vectors: F32,
        seen: tuple[int, int],
        serve: Serve = "fp32",
    ) -> Self:
        """Encode the items of a model over a catalogue: :meth:`Transformer.place` says which."""
        with torch.inference_mode():
            table = model.eval().items()
        index = NearIndex(table.numpy()) if len(table) >= LARGE else None
        return cls(model, version, vectors, seen, table, serving_dtype(serve), index)

    def over(self, vectors: F32, seen: tuple[int, int]) -> Self:
        """Return it over the catalogue as it is now; only what has changed is encoded."""
        size = len(self.vectors)
        moved = np.flatnonzero((vectors[:size] != self.vectors).any(axis=1))
        rows = np.concatenate([moved, np.arange(size, len(vectors))])
        with torch.inference_mode():
            table = torch.zeros(len(vectors), self.table.shape[1])
            table[:size] = self.table
            changed = torch.from_numpy(rows)
            table[changed] = self.model.items_at(changed, torch.from_numpy(vectors[rows]))
        index = self.index
        if len(table) >= LARGE and (index is None or index.outgrown(len(table))):
            index = NearIndex(table.numpy())
        elif index is not None:
            index.update(table.numpy(), rows)
        return type(self)(self.model, self.version, vectors, seen, table, self.dtype, index)

    @property
    def items(self) -> F32:
        """(N, dim) vectors of the items."""
        return np.asarray(self.table.numpy(), dtype=np.float32)

    def near(self, users: F32) -> NDArray[np.int32] | None:
        """Return the items of the largest odds, (K, FOUND); None where there are few items."""
        return None if self.index is None else self.index.find(users, FOUND)

    def users(self, contexts: Contexts, known: NDArray[np.integer], encoder: QueryVectors) -> F32:
        """Return what the K questions in the rows ``known`` expect: (K, dim).

        Sequences of like length are computed together, none longer than it has to be.
        """
        order = np.argsort(contexts.length[known], kind="stable")
        halves = self.dtype == torch.bfloat16
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=halves):
            outputs = torch.empty(len(known), self.table.shape[1])
            for first in range(0, len(order), ROWS):
                part = order[first : first + ROWS]
                batch, last = self._batch(contexts, known[part], encoder)
                found = self.model(batch, self.table)[torch.arange(len(part)), last]
                outputs[torch.from_numpy(part)] = found.float()
        return np.asarray(outputs.numpy(), dtype=np.float32)  # halves would make odds equal

    def _batch(
        self, contexts: Contexts, known: NDArray[np.integer], encoder: QueryVectors
    ) -> tuple[Batch, torch.Tensor]:
        """Return histories oldest first, and the place of the last interaction of each."""
        most = min(self.model.config.length, contexts.items.shape[1])
        count = np.minimum(contexts.length[known], most)
        length = int(count.max())
        # Column k of the batch is the (count - 1 - k)-th interaction back.
        back = count[:, None] - 1 - np.arange(length)
        there = back >= 0
        pick = (known[:, None], np.maximum(back, 0))
        next_pick = (known[:, None], np.maximum(back - 1, 0))
        later = np.where(back > 0, contexts.times[next_pick], contexts.now[known][:, None])
        gap = np.where(there, later - contexts.times[pick], 0) / 1000
        texts = [contexts.queries[row] for row in known]
        asked = np.full(there.shape, -1, dtype=np.int64)
        wanted = [text for text in dict.fromkeys(texts) if text]
        for row, text in enumerate(texts):
            if text:
                asked[row, count[row] - 1] = wanted.index(text)
        queries = encoder.vectors(wanted) if wanted else np.zeros((0, 1), np.float32)
        batch = Batch(
            items=torch.from_numpy(np.where(there, contexts.items[pick], -1).astype(np.int64)),
            weight=torch.from_numpy(np.where(there, contexts.weight[pick], 0).astype(np.float32)),
            gap_s=torch.from_numpy(gap.astype(np.float32)),
            query=torch.from_numpy(asked),
            queries=torch.from_numpy(queries),
        )
        return batch, torch.from_numpy(count.astype(np.int64) - 1)
