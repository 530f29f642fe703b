"""The replay's observer: prequential metrics of the blend and of each source alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, get_args

import numpy as np
from numpy.typing import NDArray

from features.session import Session
from models.draw import chance
from models.engine import Chunk, Engine
from models.evaluate import NextMeter, RerankMeter, by_decile
from models.finish import best_of_each
from models.lists import NAMES as LIST_NAMES
from models.open_list import OpenList
from models.steps import Mode, Taken

__all__ = ["Evaluation"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

MODES: Final[tuple[Mode, ...]] = get_args(Mode)
TOP: Final = 10

SEED: Final = 1
"""Of the draw of what is measured: not that of what is learned from."""


class Evaluation:
    """Measures predictions before they are learned from.

    Parameters
    ----------
    from_ms
        Events before this time are learned from and not measured.
    names
        Names of the sources, in the order of a Retrieval's scores.
    share
        Share of the positives that is measured, the same in every run.
    stale
        Whether predictions are measured for users' older states, too; then all are from the
        first of these on.

    Attributes
    ----------
    measures_stale
        As given.
    then
        Gives a user's state as it was at an earlier moment, to be measured as well.
    """

    def __init__(
        self, from_ms: int, names: Sequence[str], share: float = 1.0, *, stale: bool = False
    ) -> None:
        self.from_ms, self._share, self.measures_stale = from_ms, share, stale
        self.then: Callable[[str], Session] | None = None
        self.names = ["blend", *names]
        self.next = {mode: {name: NextMeter() for name in self.names} for mode in MODES}
        self._taken = np.zeros(0, dtype=np.int64)
        self.rerank = {name: RerankMeter() for name in ["shown", *self.names, *LIST_NAMES]}

    def watches(self, time_ms: int, place: tuple[int, int] | None = None) -> bool:
        """Tell whether an event of this time, a positive at this place, is measured."""
        if time_ms < self.from_ms:
            return False
        if place is not None and self.measures_stale and self.then is None:
            return False  # all modes are measured by the same events
        return place is None or self._share == 1 or chance(SEED, place) < self._share

    def stale(self, user: str) -> Session | None:
        """Return a user's state as it was, where that is measured."""
        return None if self.then is None else self.then(user)

    def taken(self, engine: Engine, chunk: Chunk, taken: Sequence[Taken]) -> None:
        """Rank the whole catalogue for each item taken."""
        if not taken:
            return
        rows = np.array([s.question - chunk.first for s in taken])
        items = np.array([s.item for s in taken])
        self._count(items, chunk.retrieval.size)
        retrieval, contexts = chunk.retrieval, chunk.retrieval.contexts
        blend, best = _blend_scores(engine, chunk)
        for place, name in enumerate(self.names):
            ranks = _ranks(retrieval.table(place - 1) if place else blend, rows, items)
            for step, row, rank in zip(taken, rows.tolist(), ranks.tolist(), strict=True):
                length = int(contexts.length[row])
                self.next[step.mode][name].add(rank, step.user, length, step.time)
        self._note_listed(chunk, taken, rows, best)

    def _count(self, items: NDArray[np.intp], catalogue: int) -> None:
        """Count what was taken; that is the same in all modes, and relative to itself."""
        counts = np.bincount(items, minlength=catalogue)
        counts[: len(self._taken)] += self._taken
        self._taken = counts

    def _note_listed(
        self, chunk: Chunk, taken: Sequence[Taken], rows: NDArray[np.intp], best: I32
    ) -> None:
        """Note the items of the top lists, for coverage."""
        size = chunk.retrieval.size
        for mode in MODES:
            used = np.unique(rows[[step.mode == mode for step in taken]])
            self.next[mode]["blend"].listed(best[used], size)
            for name, top in zip(self.names[1:], chunk.retrieval.top, strict=True):
                self.next[mode][name].listed(top[used, :TOP], size)

    def closed(self, shown: OpenList, taken: Sequence[bool]) -> None:
        """Measure a shown list if it got a positive."""
        scored = shown.scored
        if scored is None or not any(taken) or not self.watches(shown.time):
            return
        marks = np.array(taken)
        self.rerank["shown"].add(-np.arange(len(marks), dtype=np.float64), marks, shown.time)
        self.rerank["blend"].add(scored.odds, marks, shown.time)
        for place, name in enumerate(self.names[1:]):
            self.rerank[name].add(scored.x[:, place], marks, shown.time)
        for place, name in enumerate(reversed(LIST_NAMES), start=1):
            self.rerank[name].add(scored.x[:, -place], marks, shown.time)

    def _popularity(self, meters: dict[str, NextMeter]) -> dict[str, Any]:
        return {
            "taken": {"deciles": by_decile(self._taken, self._taken)},
            **_each(meters, lambda meter: meter.popularity(self._taken)),
        }

    def report(self) -> dict[str, Any]:
        """Return the metrics as plain values.

        ``rerank``, ``next`` and ``by_history`` are means; ``over_time`` has HR@10 and NDCG@10 by
        slices of time, ``popularity`` novelty and shares by tenths of the catalogue, with those of
        what was taken as ``taken``.
        """
        modes = {mode: meters for mode, meters in self.next.items() if len(meters["blend"])}
        return {
            "rerank": _each(self.rerank, RerankMeter.summary),
            "next": {mode: _each(meters, NextMeter.summary) for mode, meters in modes.items()},
            "by_history": {
                mode: _each(meters, NextMeter.by_history) for mode, meters in modes.items()
            },
            "over_time": {mode: _each(meters, _curve) for mode, meters in modes.items()}
            | {"rerank": _each(self.rerank, _curve)},
            "popularity": {mode: self._popularity(meters) for mode, meters in modes.items()},
        }


def _curve(meter: NextMeter | RerankMeter) -> dict[str, list[float]]:
    times, values = meter.over_time()
    return {"at": list(times), "value": values}


def _each(meters: dict[str, Any], what: Callable[[Any], Any]) -> dict[str, Any]:
    return {name: what(meter) for name, meter in meters.items() if len(meter)}


def _blend_scores(engine: Engine, chunk: Chunk) -> tuple[F32, I32]:
    """Return the blend's log-odds (B, N), -inf where it is no candidate, and its top 10."""
    view = chunk.retrieval.see(chunk.retrieval.candidates())
    pairs, (odds, _) = view.pairs, engine.score(chunk, view)
    table = np.full(chunk.retrieval.blocked.shape, -np.inf, dtype=np.float32)
    table[pairs.row, pairs.item] = odds
    place = best_of_each(pairs, odds, len(chunk), TOP)
    return table, np.where(place >= 0, pairs.item[place], -1) if len(pairs) else place


def _ranks(table: F32, rows: NDArray[np.intp], items: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the 1-based rank of each (row, item) in its row, ties sharing their mean rank."""
    ranks = np.empty(len(rows))
    for first in range(0, len(rows), 256):
        part = slice(first, first + 256)
        scores = table[rows[part]]
        target = scores[np.arange(len(scores)), items[part]][:, None]
        above = np.count_nonzero(scores > target, axis=1)
        ranks[part] = above + (np.count_nonzero(scores == target, axis=1) + 1) / 2
    return ranks
