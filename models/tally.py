"""Items' statistics of many events at once, by arrays: what an import folds.

It comes to what :class:`models.activity.ActivityWriter` and :func:`models.item_state.fold_rows`
make of the same events, told in one record. Those take a round of Python for each item that was
shown, or that came before one that was taken; here it is a number in a column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, repeat
from operator import attrgetter, mul
from typing import Final

import numpy as np
from numpy.typing import NDArray

from features.parts.base import DAY_MS, Moment
from features.session import Session
from models.activity import UNIT
from models.exact import BLOCK, QUARTERS, rebase
from models.item_state import HOUR_MS, ItemState, tidy
from stream.events import Event, Interaction, Ranking
from stream.settings import NeighboursSettings

__all__ = ["Tally"]

Ints = NDArray[np.int64]
Load = Callable[[list[str]], Sequence[ItemState]]
States = Mapping[int, ItemState]

_QUARTERS: Final = np.array(QUARTERS, np.int64)


class Tally:
    """Collects what events tell of items, and folds it into the items' states.

    Parameters
    ----------
    settings
        Window, decay and half-life of what follows what, and how much of it is kept.
    source
        Partition of the events topic under which offsets are noted.
    """

    def __init__(self, settings: NeighboursSettings, source: int) -> None:
        self._settings, self._source = settings, str(source)
        self._clear()

    def _clear(self) -> None:
        self._shown: list[str] = []
        self._lists: list[int] = []  # of each: how many were shown, time, offset
        self._met: list[str] = []  # of each positive: what was taken, then what it came after
        self._positives: list[int] = []  # of each: how many of these, time, offset, from a list
        self._weights: list[float] = []

    def add(self, before: Session, event: Event, moment: Moment, offset: int) -> None:
        """Tell of one event, given the user's state *before* it was folded in.

        Offsets must be beyond all that were folded before.
        """
        if isinstance(event, Ranking):
            self._shown += [shown.id for shown in event.items]
            self._lists += (len(event.items), moment.time, offset)
        elif isinstance(event, Interaction) and moment.sign > 0:
            found: dict[str, None] = {event.item: None}
            visit, most, history = moment.visit, self._settings.window, before.history
            visits = reversed(history.visits)
            for past, its_visit in zip(reversed(history.items), visits, strict=True):
                if its_visit != visit or len(found) > most:
                    break
                found[past] = None
            self._met += found
            self._positives += (len(found), moment.time, offset, event.ranking is not None)
            self._weights.append(moment.weight)

    def fold(self, load: Load) -> Sequence[ItemState]:
        """Fold what was told since the last call into its items' states; return these.

        Parameters
        ----------
        load
            Asked once, by names, for the states, which are changed in place.
        """
        rows = _Rows(self._lists, self._shown, self._positives, self._met)
        rows.preceding(self._weights, self._settings)
        self._clear()
        touched = np.flatnonzero(rows.last >= 0)
        states = load([rows.names[at] for at in touched.tolist()])
        before = [state.newest for state in states]
        of = dict(zip(touched.tolist(), states, strict=True))
        rows.count(of)
        rows.follow(of, int(self._settings.half_life_days * DAY_MS))
        columns = (rows.newest[touched], rows.last[touched], rows.taken[touched])
        told = zip(states, before, *(column.tolist() for column in columns), strict=True)
        for state, newest, time, offset, taken in told:
            state.seen[self._source] = offset
            state.newest = max(newest, time)
            tidy(state, newest, self._settings, taken=taken > 0)
        return states


class _Codes(dict[str, int]):
    """Numbers names as they come."""

    def __missing__(self, name: str) -> int:
        number = self[name] = len(self)
        return number

    def of(self, names: Sequence[str]) -> Ints:
        return np.fromiter(map(self.__getitem__, names), np.int64, len(names))


class _Rows:
    """The columns of a tally; items stand for the places of their names.

    ``newest`` and ``last`` are the time and the offset of the latest row of each item; -1 where
    there is none.
    """

    def __init__(
        self,
        lists: Sequence[int],
        shown: Sequence[str],
        positives: Sequence[int],
        met: Sequence[str],
    ) -> None:
        codes = _Codes()
        items, self._met = codes.of(shown), codes.of(met)
        self.names = list(codes)
        n = len(self.names)
        self.newest, self.last = np.full(n, -1, np.int64), np.full(n, -1, np.int64)
        how_many, *when = np.array(lists, np.int64).reshape(-1, 3).T
        self._reach(items, *(np.repeat(one, how_many) for one in when))
        self._lengths, self._times, self._offsets, clicked = (
            np.array(positives, np.int64).reshape(-1, 4).T
        )
        self._firsts = np.cumsum(self._lengths) - self._lengths
        self._heads = self._met[self._firsts]
        self._reach(self._heads, self._times, self._offsets)
        self._shown = np.bincount(items, minlength=n)
        self.taken = np.bincount(self._heads, minlength=n)
        self._clicked = np.bincount(self._heads[clicked > 0], minlength=n)

    def _reach(self, items: Ints, times: Ints, offsets: Ints) -> None:
        np.maximum.at(self.newest, items, times)
        np.maximum.at(self.last, items, offsets)

    def preceding(self, weights: Sequence[float], settings: NeighboursSettings) -> None:
        """Make rows of what came before each positive; weights that round to none make none."""
        shares = list(accumulate(repeat(settings.decay, settings.window - 1), mul, initial=1.0))
        each, kinds = np.unique(np.array(weights, np.float64), return_inverse=True)
        units = [round(UNIT * weight * share) for weight in each.tolist() for share in shares]
        table = np.array(units, np.int64).reshape(len(each), len(shares))
        of = np.repeat(np.arange(len(self._lengths)), self._lengths)
        rank = np.arange(len(self._met)) - self._firsts[of] - 1  # -1 is what was taken itself
        weight = table[kinds[of], rank]
        kept = np.flatnonzero((rank >= 0) & (weight != 0))
        of = of[kept]
        self._followed, self._followers = self._met[kept], self._heads[of]
        self._units, self._at = weight[kept], self._times[of]
        self._reach(self._followed, self._at, self._offsets[of])

    def count(self, states: States) -> None:
        """Add to the totals, and to the positives by hour and by day."""
        counted = {"shown": self._shown, "taken": self.taken, "clicked": self._clicked}
        for name, counts in counted.items():
            some = np.flatnonzero(counts)
            for item, count in zip(some.tolist(), counts[some].tolist(), strict=True):
                totals = states[item].totals
                totals[name] = totals.get(name, 0) + count
        for buckets_of, width in ((attrgetter("hours"), HOUR_MS), (attrgetter("days"), DAY_MS)):
            items, buckets, counts = _pairs(self._heads, self._times // width)
            names = map(str, buckets.tolist())
            for item, name, count in zip(items.tolist(), names, counts.tolist(), strict=True):
                buckets = buckets_of(states[item])
                buckets[name] = buckets.get(name, 0) + count

    def follow(self, states: States, half_life: int) -> None:
        """Add to the weights of what follows, relative to one landmark at a time."""
        quarters = 4 * self._at // half_life
        epochs = quarters // 4
        values = (self._units * _QUARTERS[quarters % 4]).astype(np.float64)
        cuts = np.flatnonzero(np.diff(epochs // BLOCK)) + 1
        for rows in np.split(np.arange(len(epochs)), cuts):
            if len(rows):
                self._add(states, rows, values[rows], epochs[rows])

    def _add(self, states: States, rows: Ints, values: NDArray[np.float64], epochs: Ints) -> None:
        """Add rows of one block of epochs, in their order, to what is there."""
        n, followed = len(self.names), self._followed[rows]
        pairs, places = np.unique(followed * n + self._followers[rows], return_inverse=True)
        names = [self.names[at] for at in (pairs % n).tolist()]
        landmarks, present = np.zeros(n, np.int64), list[float]()
        groups = list(_groups(pairs // n))
        for item, start, end in groups:
            state = states[item]
            state.landmark = rebase(state.next, state.landmark, int(epochs[0]))
            landmarks[item] = state.landmark
            present += map(state.next.get, names[start:end], repeat(0.0))
        gains = np.ldexp(values, epochs - landmarks[followed])
        # `bincount` adds one by one, first what is there: so even what is not exact comes out alike
        order = np.concatenate([np.arange(len(pairs)), places])
        sums = np.bincount(order, np.concatenate([present, gains])).tolist()
        for item, start, end in groups:
            states[item].next.update(zip(names[start:end], sums[start:end], strict=True))


def _pairs(items: Ints, others: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the distinct pairs, ordered, and how often each comes."""
    span = int(others.max(initial=0)) + 1
    pairs, counts = np.unique(items * span + others, return_counts=True)
    return pairs // span, pairs % span, counts


def _groups(items: Ints) -> Iterator[tuple[int, int, int]]:
    """Yield each item of an ordered column, and where it starts and ends there."""
    starts = np.flatnonzero(np.diff(items, prepend=-1))
    ends = np.append(starts[1:], len(items))
    return zip(items[starts].tolist(), starts.tolist(), ends.tolist(), strict=True)
