"""Features of a (user, item) pair: what the sources say, and what the pair itself is like.

Training and serving call the same function on the same arrays, so they cannot
drift apart. Every feature is 0 where nothing is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts
from models.mixture import Mixture
from models.pairs import Pairs
from models.retrieval import Retrieval, View
from models.sources.base import Source, World
from models.sources.popular import affinity

__all__ = ["SEGMENTS", "Signals", "segment_of"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

LENGTHS: Final = (5, 30)
"""Lengths of the history at which users count as known better."""

SEGMENTS: Final = (
    "none",
    *("start of few", "start of some", "start of many"),
    *("within few", "within some", "within many"),
    "asking",
)
"""No history; the first item of a visit, or within one, by the length of the history; right
after a query, whoever it is: then what the query says weighs most, and what came before little."""

NEVER: Final = 0.02
"""Added to the mixture before its logarithm."""

FAINT: Final = 0.1
"""Added to lifts before their logarithm: below a tenth of pure chance all are alike."""

MIXED: Final = ("mixture", "log_mixture")

CHANCE: Final = "chance"

PAIR: Final = (
    *("owned", "in_visit", "ignored", "price", "category", "brand", "rate"),
    *MIXED,
)

SHOWINGS: Final = 20.0
"""Imagined showings, at the mean rate, in an item's rate."""

HALF_LIFE: Final = 8.0
"""Interactions after which interest in a category or brand counts half."""

TRENDS: Final = "trending_"


def segment_of(contexts: Contexts) -> I32:
    """Return each question's segment: (B,)."""
    within = ((contexts.items >= 0) & (contexts.back == 0)).any(axis=1)
    known = np.digitize(contexts.length, LENGTHS) + 1 + (len(LENGTHS) + 1) * within
    segment = np.where(contexts.length == 0, 0, known)
    segment[contexts.asking] = SEGMENTS.index("asking")
    return segment.astype(np.int32)


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
    owners
        Sources and signals that features are credited to; what the mixture says is
        credited to its sources, and to ``chance`` what none of them knew.
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
        self.owners = tuple(dict.fromkeys(o for _, o in columns if o not in MIXED)) + (CHANCE,)
        self._owned_by = np.zeros((len(columns), len(self.owners)), dtype=np.float32)
        for place, (_, owner) in enumerate(columns):
            if owner not in MIXED:
                self._owned_by[place, self.owners.index(owner)] = 1
        self._mixed = [place for place, (_, owner) in enumerate(columns) if owner in MIXED]
        self.prior = {f"{n}.rank": 0.1 if n.startswith(TRENDS) else 0.3 for n in names}
        self.prior["log_mixture"] = 1.0
        self.mixture = Mixture(len(sources), len(SEGMENTS))

    def of(self, retrieval: Retrieval, view: View, segment: I32) -> F32:
        """Return the features of M pairs: (M, F).

        Parameters
        ----------
        retrieval
            The sources' view of B questions.
        view
            What they say of M pairs.
        segment
            (B,) segments of the questions.
        """
        contexts, pairs, sources = retrieval.contexts, view.pairs, len(view.lift)
        owned, ignored, catalogue = contexts.owned, contexts.ignored, self._world.catalogue
        x = np.empty((len(self.names), len(pairs)), dtype=np.float32)
        heard = np.log(view.lift + np.float32(FAINT), out=x[:sources])
        heard *= (retrieval.mean > 0)[:, pairs.row]
        np.take(_heights(retrieval.top.shape[2]), view.rank, out=x[sources : 2 * sources])
        mixed = self.mixture.lift(view.lift.T, segment[pairs.row])
        x[2 * sources :] = [
            np.minimum(view.put(owned.row, owned.item, owned.count), 1),
            np.minimum(view.put(*_visited(contexts)), 1),
            np.log1p(view.put(ignored.row, ignored.item, ignored.count)),
            self._price(contexts, pairs),
            self._interest(contexts, pairs, catalogue.category, catalogue.category_names),
            self._interest(contexts, pairs, catalogue.brand[:, None], catalogue.brand_names),
            self._rate(pairs),
            np.sqrt(mixed),
            np.log(mixed + NEVER),
        ]
        return np.ascontiguousarray(x.T)

    def credit(self, view: View, segment: I32, given: F32) -> F32:
        """Return what each owner contributes to M scores; sums to them: (M, owners).

        Parameters
        ----------
        view, segment
            As in :meth:`of`.
        given
            (M, F) features times weights.
        """
        part = given @ self._owned_by
        lift = view.lift.T
        responsible = self.mixture.responsible(lift, segment[view.pairs.row])
        credited = given[:, self._mixed].sum(axis=1, keepdims=True) * responsible
        part[:, : lift.shape[1]] += credited[:, :-1]
        part[:, -1] += credited[:, -1]
        return part

    def _interest(self, contexts: Contexts, pairs: Pairs, labels: I32, names: list[str]) -> F32:
        """Return the share of the user's interest in the item's labels, 0 to 1."""
        if not names:
            return np.zeros(len(pairs), dtype=np.float32)
        share = affinity(contexts.items, contexts.weight, labels, len(names), HALF_LIFE)
        # a column of nothing stands last, where -1, which is no label, finds it
        share = np.concatenate([share, np.zeros((len(share), 1), np.float32)], axis=1)
        return np.asarray(share[pairs.row[:, None], labels[pairs.item]].sum(axis=1))

    def _rate(self, pairs: Pairs) -> F32:
        """Return the log of the item's rate of clicks when shown over that of all items."""
        stats = self._world.stats
        shown, clicked, _ = stats.counts(pairs.item).T
        mean = (stats.totals[1] + 1) / (stats.totals[0] + 10)
        rate = (clicked + SHOWINGS * mean) / (shown + SHOWINGS)
        return np.asarray(np.log(rate / mean), dtype=np.float32)

    def _price(self, contexts: Contexts, pairs: Pairs) -> F32:
        """Return nearness (0..1] of log prices to the user's mean; 0 where either is unknown."""
        price = self._world.catalogue.log_price
        items = contexts.items
        paid = np.where(items >= 0, price[np.maximum(items, 0)], np.nan)
        known = ~np.isnan(paid)
        mean = np.where(known, paid, 0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
        mean = np.where(known.any(axis=1), mean, np.nan).astype(np.float32)
        distance = np.abs(price[pairs.item] - mean[pairs.row])
        return np.where(np.isnan(distance), 0, np.exp(-distance))


def _visited(contexts: Contexts) -> tuple[I32, I32, F32]:
    """Return the items of the present visit as (row, item, 1) entries."""
    row, place = np.nonzero((contexts.items >= 0) & (contexts.back == 0))
    item = contexts.items[row, place]
    return row.astype(np.int32), item, np.ones(len(row), dtype=np.float32)


@lru_cache(maxsize=8)
def _heights(k: int) -> F32:
    """Return how high each rank from 0 to K is, from 1 down to 0: (K + 1,)."""
    rank = np.arange(k + 1, dtype=np.float32)
    return np.asarray(1 - np.log((3 + rank) / 3) / np.log((3 + np.float32(k)) / 3), np.float32)
