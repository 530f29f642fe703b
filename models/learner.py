"""What one partition of the stream has taught: two heads and the lists still open.

``next`` learns which of all candidates a user takes; ``shown`` learns which
items of a shown list he takes, from lists and their clicks. Each partition has
a learner of its own, which keeps what that partition's examples have added to
the weights, so that redelivery and rebalances cannot count an example twice;
the weights themselves are all partitions' (:mod:`models.sharing`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from river import drift

from features.card import AsOf
from models.head import HeadState
from models.open_list import OpenList
from models.watermark import Watermark
from stream.errors import ModelError

__all__ = ["Learner", "LearnerState", "Taught"]

F64 = NDArray[np.float64]
F32 = NDArray[np.float32]
I32 = NDArray[np.int32]

MAX_OPEN: Final = 20_000
"""Shown lists that may wait for their clicks; beyond that the oldest is closed."""

PAGE_MS: Final = 2_000
"""Lists that a user is shown within so many milliseconds lie on one page."""


class LearnerState(Struct, frozen=True):
    """A learner's checkpoint.

    Attributes
    ----------
    as_of
        Stamp on the events topic: everything up to it was learned, but for open lists.
        Its time is that of the partition (:mod:`models.watermark`) while lists are open.
    open
        Name of each list still open, oldest first, to the ids taken of it so far. The
        lists themselves have records of their own (:mod:`models.open_list`).
    heads
        Head name to its state.
    voices
        Users and times of the last events while lists are open.
    positives, clicks
        Positive interactions that it has come to, and those of them on shown lists.
    """

    as_of: AsOf
    open: dict[str, list[str]]
    heads: dict[str, HeadState]
    voices: list[tuple[str, int]] = []
    positives: int = 0
    clicks: int = 0


class _Written(Struct):
    """A :class:`LearnerState` whose heads are written already."""

    as_of: AsOf
    open: dict[str, list[str]]
    heads: dict[str, msgspec.Raw]
    voices: list[tuple[str, int]]
    positives: int
    clicks: int


_ENCODER: Final = msgspec.json.Encoder()


class Taught(Protocol):
    """What learns: a head, or a partition's share in one."""

    examples: int

    def learn(self, x: F32, segment: I32, y: Sequence[bool]) -> None:
        """Learn from n examples in order."""
        ...

    def choose(self, x: F32, group: int, chosen: int) -> float:
        """Learn from one choice among n; return the loss before."""
        ...

    def score(self, x: F32, segment: I32) -> F64:
        """Return the log-odds of n pairs: (n,)."""
        ...

    def matrix(self) -> F64:
        """Return the effective weights, (G, F)."""
        ...

    def state(self) -> HeadState:
        """Return what a checkpoint needs."""
        ...

    def restore(self, state: HeadState) -> None:
        """Continue from a checkpoint; raises ModelError where it does not fit."""
        ...


Closed = Callable[[OpenList, Sequence[bool], int], None]


class Learner:
    """The fold of one partition's lessons.

    Parameters
    ----------
    heads
        ``next`` and ``shown``.
    join_ms
        How long a list waits for its clicks: by its user's own events, and where he is
        silent by those of the partition.
    closed
        Called with every list that closes, what was taken, and the offset of the event
        that closes it, before it is learned from.

    Attributes
    ----------
    offset
        Of the event it has come to.
    positives, clicks
        Positive interactions it has come to, whether learned from or not, and those of
        them on shown lists.
    drifts
        How often ADWIN has found that a head's loss rose.
    changed
        Whether anything that a checkpoint holds, but for the offset, has changed since
        :meth:`noted` was called last. Reading the same events again changes nothing then.
    begun, ended
        Lists that were opened, and names of those that have closed, since then.
    """

    def __init__(
        self, heads: Mapping[str, Taught], join_ms: int, closed: Closed | None = None
    ) -> None:
        self.heads = dict(heads)
        self._closed = closed
        self.offset = -1
        self.positives = self.clicks = 0
        self.drifts = 0
        self.changed = False
        self.begun: dict[str, OpenList] = {}
        self.ended: list[str] = []
        self._join_ms = join_ms
        self._open: dict[str, OpenList] = {}
        self._of: dict[str, list[str]] = {}
        self._watermark = Watermark()
        self._adwin: dict[str, drift.ADWIN] = {}
        self._written: dict[str, tuple[int, msgspec.Raw]] = {}

    def teach(self, head: str, x: F32, segment: I32, taken: Sequence[bool]) -> None:
        """Let a head learn one lesson (a list of n examples) and watch its loss for drift."""
        self.changed = True
        learner = self.heads[head]
        odds = learner.score(x[:64], segment[:64])
        signs = np.where(np.asarray(taken[:64], dtype=bool), -odds, odds)
        self._watch(head, float(np.logaddexp(0, signs).mean()))
        learner.learn(x, segment, taken)

    def choose(self, head: str, x: F32 | None, group: int, chosen: int) -> None:
        """Let a head learn which of n candidates was taken, and watch its loss for drift.

        Where ``x`` is None, because what was taken was no candidate, the lesson
        counts and teaches nothing.
        """
        self.changed = True
        if x is None:
            self.heads[head].examples += 1
            return
        loss = self.heads[head].choose(x, group, chosen)
        self._watch(head, loss / max(1.0, math.log(len(x))))

    def _watch(self, head: str, loss: float) -> None:
        """Count a drift where a head's loss has risen; that it falls is how learning looks."""
        adwin = self._adwin.setdefault(head, drift.ADWIN())
        before = adwin.estimation
        adwin.update(loss)
        self.drifts += bool(adwin.drift_detected) and adwin.estimation > before

    def show(self, name: str, shown: OpenList) -> None:
        """Open a list, whose clicks will name it.

        What its user was shown on an earlier page closes, and what has its name.
        """
        self.changed = True
        for earlier in list(self._of.get(shown.user, ())):
            if earlier == name or shown.time - self._open[earlier].time > PAGE_MS:
                self._close(earlier)
        if not self._open:  # time is kept for open lists alone: a checkpoint holds all of it
            self._watermark = Watermark([(shown.user, shown.time)], shown.time)
        self._open[name] = self.begun[name] = shown
        self._of.setdefault(shown.user, []).append(name)
        if len(self._open) > MAX_OPEN:
            self._close(next(iter(self._open)))

    def take(self, name: str, item: str) -> None:
        """Mark an item of an open list as taken; a closed list learns no more."""
        if (shown := self._open.get(name)) is not None:
            shown.taken.add(item)
            self.changed = True

    def advance(self, user: str, time_ms: int, offset: int) -> None:
        """Move on to an event of a user: close what has waited long enough.

        His own lists go by his own clock, the others by that of the partition.
        """
        self.offset = max(self.offset, offset)
        if not self._open:
            return
        self.changed = True
        for name in list(self._of.get(user, ())):
            if time_ms - self._open[name].time >= self._join_ms:
                self._close(name)
        self._watermark.hear(user, time_ms)
        while self._open:
            name, oldest = next(iter(self._open.items()))
            if self._watermark.now - oldest.time < self._join_ms:
                break
            self._close(name)

    def count(self, positives: int, clicks: int) -> None:
        """Take note of how many positives and clicks there were up to the event it is at."""
        counts = (positives, clicks)
        self.changed = self.changed or counts != (self.positives, self.clicks)
        self.positives, self.clicks = counts

    def close_all(self) -> None:
        """Close every open list: the log is at its end."""
        for name in list(self._open):
            self._close(name, self.offset + 1)

    def let_go(self, user: str, offset: int) -> None:
        """Come to where a user is gone: his open lists, whose clicks nobody tells, are too."""
        self.offset = max(self.offset, offset)
        for name in list(self._of.get(user, ())):
            self.changed = True
            self._remove(name)
        if self._watermark.forget(user) and self._open:
            self.changed = True

    def _remove(self, name: str) -> OpenList:
        shown = self._open.pop(name)
        if self.begun.pop(name, None) is None:
            self.ended.append(name)
        self._of[shown.user].remove(name)
        if not self._of[shown.user]:
            del self._of[shown.user]
        return shown

    def _close(self, name: str, offset: int | None = None) -> None:
        self.changed = True
        shown = self._remove(name)
        taken = [item in shown.taken for item in shown.items]
        if self._closed is not None:
            self._closed(shown, taken, self.offset if offset is None else offset)
        if (drawn := shown.drawn) is not None and any(taken):
            self.teach("shown", drawn.x, drawn.segment, taken)

    def state(self, partition: int) -> LearnerState:
        """Return what a checkpoint needs."""
        return LearnerState(
            AsOf(partition, self.offset, self._watermark.now),
            self._taken(),
            {name: head.state() for name, head in self.heads.items()},
            self._voices(),
            self.positives,
            self.clicks,
        )

    def encode(self, partition: int) -> bytes:
        """Return :meth:`state` as JSON; a head that has learned nothing since stays as written."""
        for name, head in self.heads.items():
            if self._written.get(name, (-1,))[0] != head.examples:
                self._written[name] = head.examples, msgspec.Raw(_ENCODER.encode(head.state()))
        return _ENCODER.encode(
            _Written(
                AsOf(partition, self.offset, self._watermark.now),
                self._taken(),
                {name: raw for name, (_, raw) in self._written.items()},
                self._voices(),
                self.positives,
                self.clicks,
            )
        )

    def _taken(self) -> dict[str, list[str]]:
        return {name: sorted(shown.taken) for name, shown in self._open.items()}

    def _voices(self) -> list[tuple[str, int]]:
        return self._watermark.state() if self._open else []

    def closed_for_good(self) -> list[str]:
        """Return the names of lists that have closed and were not shown anew."""
        return [name for name in self.ended if name not in self._open]

    def noted(self) -> None:
        """Take note that all of it is written."""
        self.changed, self.begun, self.ended = False, {}, []

    def restore(self, state: LearnerState, lists: Mapping[str, OpenList]) -> None:
        """Continue from a checkpoint.

        Parameters
        ----------
        state
            The checkpoint.
        lists
            Those of its open lists that were found again.

        Raises
        ------
        ModelError
            It was written by a version with other heads or features.
        """
        if state.heads.keys() != self.heads.keys():
            raise ModelError(f"the checkpoint has the heads {sorted(state.heads)}")
        for name, head in self.heads.items():
            head.restore(state.heads[name])
        self._written = {}
        self.offset = state.as_of.offset
        self.positives, self.clicks = state.positives, state.clicks
        self._watermark = Watermark(state.voices, state.as_of.event_time)
        for name, taken in state.open.items():
            if name in lists:
                self._open[name] = lists[name]
                self._open[name].taken = set(taken)
                self._of.setdefault(lists[name].user, []).append(name)


def decode_learner(raw: bytes) -> LearnerState:
    """Read a checkpoint; raises msgspec.ValidationError where it is none."""
    return msgspec.json.decode(raw, type=LearnerState)
