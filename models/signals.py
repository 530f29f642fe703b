"""Features of a (user, item) pair: what the sources say, and what the pair itself is like.

Training and serving call the same function on the same arrays, so they cannot
drift apart. Every feature is 0 where nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.mixture import Mixture
from models.retrieval import Pairs, Retrieval
from models.sources.base import Source, World

__all__ = ["SEGMENTS", "Signals", "segment_of"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

SEGMENTS: Final = ("none", "start", "within")
"""No history; the first item of a visit; within a visit."""

NEVER: Final = 0.02
"""Added to the mixture before its logarithm."""

FAINT: Final = 0.1
"""Added to lifts before their logarithm: below a tenth of pure chance all are alike."""

PAIR: Final = ("owned", "in_visit", "ignored", "price", "mixture", "log_mixture", "bias")

TRENDS: Final = "trending_"


def segment_of(contexts: Contexts) -> I32:
    """Return each question's segment: (B,)."""
    within = ((contexts.items >= 0) & (contexts.back == 0)).any(axis=1)
    return np.where(contexts.length == 0, 0, np.where(within, 2, 1)).astype(np.int32)


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
        F feature names: for each source ``.lift``, the log of its score over its
        mean score, and ``.rank``, how high in its top K (0 for out of it, 1 for the
        first); then those of the pair.
    owner
        For each feature the source or signal it is credited to.
    prior
        Weights before anything was learned.
    """

    def __init__(self, world: World, sources: Sequence[Source]) -> None:
        self._world = world
        names = [source.name for source in sources]
        columns = [(f"{name}.lift", name) for name in names]
        columns += [(f"{name}.rank", name) for name in names]
        columns += [(name, name) for name in PAIR]
        self.names = tuple(name for name, _ in columns)
        self.owner = tuple(owner for _, owner in columns)
        self.prior = {f"{n}.rank": 0.3 if n.startswith(TRENDS) else 1.0 for n in names}
        self.prior["bias"] = -4.0
        self.mixture = Mixture(len(sources), len(SEGMENTS))

    def of(self, retrieval: Retrieval, pairs: Pairs, segment: I32) -> F32:
        """Return the features of M pairs: (M, F).

        Parameters
        ----------
        retrieval
            The sources' view of B questions.
        pairs
            M pairs.
        segment
            (B,) segments of the questions.
        """
        scores, rank = retrieval.at(pairs)
        k = np.float32(retrieval.top.shape[2])
        lift = retrieval.lift(pairs, scores)
        speaks = retrieval.mean[:, pairs.row] > 0
        height = 1 - np.log((3 + rank.astype(np.float32)) / 3) / np.log((3 + k) / 3)
        contexts, group = retrieval.contexts, segment[pairs.row]
        owned, ignored = contexts.owned, contexts.ignored
        present = _visited(contexts)
        columns = [
            *np.where(speaks, np.log(lift.T + FAINT), 0),
            *height,
            np.minimum(_lookup(owned.row, owned.item, owned.count, pairs), 1),
            np.minimum(_lookup(*present, pairs), 1),
            np.log1p(_lookup(ignored.row, ignored.item, ignored.count, pairs)),
            self._price(contexts, pairs),
            np.sqrt(mixed := self.mixture.lift(lift, group)),
            np.log(mixed + NEVER),
            np.ones(len(pairs), dtype=np.float32),
        ]
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


def _visited(contexts: Contexts) -> tuple[I32, I32, F32]:
    """Return the items of the present visit as (row, item, 1) entries."""
    row, place = np.nonzero((contexts.items >= 0) & (contexts.back == 0))
    item = contexts.items[row, place]
    return row.astype(np.int32), item, np.ones(len(row), dtype=np.float32)


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
