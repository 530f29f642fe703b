"""What the sequence Transformer expects next."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from features.contexts import Contexts
from models.sequence import Batch, SequenceModel
from models.sources.base import F32, Given, World

__all__ = ["Loaded", "Transformer"]

MOST_ODDS = 20.0
"""Logarithm of the largest lift."""


@dataclass(slots=True)
class Loaded:
    """A model that is served.

    Attributes
    ----------
    model
        Over this process' catalogue, as it was when the model was loaded.
    version
        Its name in the registry.
    table
        (N, dim) vectors of the catalogue's items.
    seen
        Version of the catalogue that the table was made from.
    """

    model: SequenceModel
    version: str
    table: torch.Tensor
    seen: tuple[int, int]


class Transformer(Given):
    """The softmax of a :class:`SequenceModel` over the catalogue; nothing without a model.

    Parameters
    ----------
    world
        Catalogue, and the encoder of queries.
    """

    name = "transformer"

    def __init__(self, world: World) -> None:
        self._world = world
        self._loaded: Loaded | None = None

    @property
    def version(self) -> str:
        """The model's version, "" where there is none."""
        return self._loaded.version if self._loaded is not None else ""

    def prepare(self, model: SequenceModel, version: str) -> Loaded:
        """Encode the catalogue with a model; may run beside the hot path.

        Parameters
        ----------
        model
            Its items are the catalogue's first rows.
        version
            Its name.
        """
        catalogue = self._world.catalogue
        seen = (catalogue.version, len(catalogue))
        vectors = torch.from_numpy(catalogue.vectors.copy())
        served = model.over(vectors, torch.arange(len(model.contents))).eval()
        with torch.inference_mode():
            return Loaded(served, version, served.items(), seen)

    def swap(self, loaded: Loaded) -> None:
        """Serve another model from the next batch on."""
        self._loaded = loaded

    def score(self, contexts: Contexts) -> F32:
        """Return the chances against an even guess, less 1, cut at 0: (B, N)."""
        catalogue = self._world.catalogue
        scores = np.zeros((len(contexts), len(catalogue)), dtype=np.float32)
        known = np.flatnonzero(contexts.length > 0)
        if self._loaded is None or not len(known):
            return scores
        if self._loaded.seen != (catalogue.version, len(catalogue)):
            self._loaded = self.prepare(self._loaded.model, self._loaded.version)
        with torch.inference_mode():
            scores[known] = self._lift(self._loaded, contexts, known)
        return scores

    def _lift(self, loaded: Loaded, contexts: Contexts, known: NDArray[np.integer]) -> F32:
        batch, last = self._batch(loaded.model, contexts, known)
        outputs = loaded.model(batch, loaded.table)[torch.arange(len(known)), last]
        odds = (outputs @ loaded.table.T).numpy()
        alive = self._world.catalogue.alive
        most = odds[:, alive].max(axis=1, keepdims=True) if alive.any() else 0.0
        total = np.exp(odds[:, alive] - most).sum(axis=1, keepdims=True)
        even = np.log(total) + most - np.log(max(1, int(alive.sum())))
        return np.asarray(np.maximum(np.expm1(np.minimum(odds - even, MOST_ODDS)), 0), np.float32)

    def _batch(
        self, model: SequenceModel, contexts: Contexts, known: NDArray[np.integer]
    ) -> tuple[Batch, torch.Tensor]:
        """Return histories oldest first, and the place of the last interaction of each."""
        length = min(model.config.length, contexts.items.shape[1])
        count = np.minimum(contexts.length[known], length)
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
        queries = self._world.queries.vectors(wanted) if wanted else np.zeros((0, 1), np.float32)
        batch = Batch(
            items=torch.from_numpy(np.where(there, contexts.items[pick], -1).astype(np.int64)),
            weight=torch.from_numpy(np.where(there, contexts.weight[pick], 0).astype(np.float32)),
            gap_s=torch.from_numpy(gap.astype(np.float32)),
            query=torch.from_numpy(asked),
            queries=torch.from_numpy(queries),
        )
        return batch, torch.from_numpy(count.astype(np.int64) - 1)
