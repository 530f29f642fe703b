"""Features of a (user, item) pair: what the sources say, and what the pair itself is like.

Training and serving call the same function on the same arrays, so they cannot
drift apart. Every feature is 0 where nothing is known and of the order of 1,
so that the learner needs no scaler.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.retrieval import Pairs, Retrieval
from models.sources.base import Source, World

__all__ = ["SEGMENTS", "Signals", "segment_of"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

SEGMENTS: Final = ("none", "start-1", "start-5", "start-30", "visit-1", "visit-5", "visit-30")
"""No history; else first item of a visit or within one, by length of history."""


def segment_of(contexts: Contexts) -> I32:
    """Return each question's segment: (B,)."""
    length = np.digitize(contexts.length, (5, 30))
    within = ((contexts.items >= 0) & (contexts.back == 0)).any(axis=1)
    segment = 1 + length + 3 * within
    return np.where(contexts.length == 0, 0, segment).astype(np.int32)


class Signals:
    """The features, by name.

    Parameters
    ----------
    world
        Catalogue and statistics.
    sources
        S sources, in the order of a :class:`Retrieval`'s scores.

    Attributes
    ----------
    names
        F feature names.
    owner
        For each feature the source or signal it is credited to.
    """

    def __init__(self, world: World, sources: Sequence[Source]) -> None:
        self._world = world
        columns = [(f"{s.name}.share", s.name) for s in sources]
        columns += [(f"{s.name}.rank", s.name) for s in sources]
        columns += [("seen", "seen"), ("ignored", "ignored"), ("price", "price"), ("bias", "bias")]
        self.names = tuple(name for name, _ in columns)
        self.owner = tuple(owner for _, owner in columns)
        self.prior = {f"{s.name}.rank": 1.0 for s in sources} | {"bias": -3.0}

    def of(self, retrieval: Retrieval, pairs: Pairs) -> F32:
        """Return the features of M pairs: (M, F)."""
        share, rank = retrieval.at(pairs)
        k = retrieval.top.shape[2]
        log_rank = 1 - np.log(3 + rank.astype(np.float32)) / np.float32(np.log(3 + k))
        contexts = retrieval.contexts
        own = [
            _lookup(contexts.owned.row, contexts.owned.item, contexts.owned.count, pairs),
            _lookup(contexts.ignored.row, contexts.ignored.item, contexts.ignored.count, pairs),
        ]
        columns = [*share, *log_rank, np.minimum(own[0], 1), np.log1p(own[1])]
        columns.append(self._price(contexts, pairs))
        columns.append(np.ones(len(pairs), dtype=np.float32))
        return np.stack(columns, axis=1).astype(np.float32)

    def _price(self, contexts: Contexts, pairs: Pairs) -> F32:
        """Return nearness (0..1] of log prices to the user's mean; 0 where either is unknown."""
        price = self._world.catalogue.log_price
        paid = np.where(contexts.items >= 0, price[np.maximum(contexts.items, 0)], np.nan)
        known = ~np.isnan(paid)
        mean = np.where(known, paid, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        mean = np.where(known.any(axis=1), mean, np.nan)
        distance = np.abs(price[pairs.item] - mean[pairs.row])
        return np.where(np.isnan(distance), 0, np.exp(-distance)).astype(np.float32)


def _lookup(row: I32, item: I32, value: F32, pairs: Pairs) -> F32:
    """Return ``value`` of the (row, item) entries that are among the pairs, else 0."""
    found = np.zeros(len(pairs), dtype=np.float32)
    if not len(row):
        return found
    width = np.int64(max(item.max(), pairs.item.max(initial=0)) + 1)
    keys = row.astype(np.int64) * width + item
    order = np.argsort(keys, kind="stable")
    wanted = pairs.row.astype(np.int64) * width + pairs.item
    at = np.minimum(np.searchsorted(keys[order], wanted), len(keys) - 1)
    hit = keys[order][at] == wanted
    found[hit] = value[order][at[hit]]
    return found
