"""What a process has done and how long each step took: counters, histograms, a heartbeat.

One registry per process. A step costs about a microsecond to measure, so it
is put around batches, never around single records. Steps are measured in one
thread, the loop's; counters may be raised from any, and all of it read from any.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Final, Self

import msgspec
from msgspec import Struct

from stream import gauges
from stream.records import TopicPartition

__all__ = [
    "Heart",
    "Histogram",
    "Pulse",
    "Step",
    "StepFigures",
    "busiest",
    "count",
    "counters",
    "freshness",
    "listen",
    "note_busy",
    "note_gone",
    "note_written",
    "reset",
    "snapshot",
    "step",
    "steps",
]

_SUB: Final = 8
"""Buckets per doubling: a percentile is right to about 6 percent."""

_CPU_EVERY: Final = 8
"""CPU time is read in one run of so many: asking costs ten times as much as the wall clock."""


_SCATTER: Final = 0x9E3779B1
"""Scatters consecutive counts over 32 bits (Knuth's multiplicative hash)."""

_CPU_EARLY: Final = 16
"""Runs at the beginning that are all measured."""

_BUSY_KEPT: Final = 100
_BUSY_SHOWN: Final = 10
_BUSY_S: Final = 60.0


class StepFigures(Struct, frozen=True):
    """How often a step ran and what it took, in microseconds."""

    count: int
    wall_us: float
    cpu_us: float
    p50_us: float
    p99_us: float


class Histogram:
    """Counts durations by their size, in buckets that grow by an eighth of a doubling."""

    __slots__ = ("_buckets", "count", "wall_ns")

    def __init__(self) -> None:
        self.clear()

    def add(self, ns: int) -> None:
        """Count a duration in nanoseconds, which is not negative."""
        self.wall_ns += ns
        self.count += 1
        self._buckets[_bucket(ns)] += 1

    def percentile_us(self, share: float) -> float:
        """Return the wall time below which this share of the runs stayed, 0 without runs."""
        wanted = share * self.count
        seen = 0
        for bucket, times in enumerate(self._buckets):
            seen += times
            if times and seen >= wanted:
                return _middle_ns(bucket) / 1000
        return 0.0

    @property
    def cpu_ns(self) -> float:
        """CPU time of all of them; 0 where it is not measured."""
        return 0.0

    def figures(self) -> StepFigures:
        """Return its figures so far."""
        p50, p99 = self.percentile_us(0.5), self.percentile_us(0.99)
        return StepFigures(self.count, self.wall_ns / 1000, self.cpu_ns / 1000, p50, p99)

    def below(self, sizes: Sequence[int]) -> tuple[list[int], int]:
        """Return how many durations were below ``2**size`` nanoseconds, and how many in all.

        Parameters
        ----------
        sizes
            Each 4 or more.

        Examples
        --------
        >>> one = Histogram()
        >>> for ns in (20, 40, 2**40):
        ...     one.add(ns)
        >>> one.below([5, 6, 7])
        ([1, 2, 2], 3)
        """
        upto = list(accumulate(self._buckets.copy()))  # a copy: the loop counts on
        return [upto[(size + 1) * _SUB - 1] for size in sizes], upto[-1]

    def clear(self) -> None:
        """Forget all of them."""
        self.count = self.wall_ns = 0
        self._buckets = [0] * (64 * _SUB)


class Step(Histogram):
    """Measures what runs within ``with``; steps of one name may be nested."""

    __slots__ = ("_cpu_early_ns", "_cpu_ns", "_cpu_runs", "_starts", "name")

    def __init__(self, name: str = "") -> None:
        super().__init__()
        self.name = name
        self._cpu_ns = 0
        self._cpu_runs = 0
        self._cpu_early_ns = 0
        self._starts: list[tuple[int, int]] = []

    def __enter__(self) -> Self:
        cpu = time.thread_time_ns() if self._cpu_is_due() else -1
        self._starts.append((cpu, time.perf_counter_ns()))
        return self

    def __exit__(self, *_: object) -> None:
        cpu, wall = self._starts.pop()
        taken = time.perf_counter_ns() - wall
        if cpu >= 0:
            self._cpu_ns += time.thread_time_ns() - cpu
            self._cpu_runs += 1
            if self._cpu_runs == _CPU_EARLY:
                self._cpu_early_ns = self._cpu_ns
        self.wall_ns += taken
        self.count += 1
        self._buckets[_bucket(taken)] += 1
        if _listening:
            _listening[0](self.name, wall, wall + taken)

    def _cpu_is_due(self) -> bool:
        """Tell whether this run is one of the sample.

        Early runs are all in it: the first is cold, and would stand for many.
        """
        # which ones is scattered: a regular choice would meet the same of several handlers
        scattered = self.count * _SCATTER & 0xFFFFFFFF
        return self.count < _CPU_EARLY or scattered < (1 << 32) // _CPU_EVERY

    @property
    def cpu_ns(self) -> float:
        """CPU time of all runs, extrapolated from those where it was read."""
        later = self._cpu_runs - _CPU_EARLY
        if later <= 0:
            return float(self._cpu_ns)
        return self._cpu_early_ns + (self._cpu_ns - self._cpu_early_ns) * (
            (self.count - _CPU_EARLY) / later
        )


def _bucket(ns: int) -> int:
    size = ns.bit_length()
    return size * _SUB + (ns >> (size - 4) & 7) if size >= 4 else ns


def _middle_ns(bucket: int) -> float:
    size, sub = divmod(bucket, _SUB)
    return float(2 ** (size - 4) * (8 + sub + 0.5)) if size >= 4 else float(bucket)


Listener = Callable[[str, int, int], None]

_steps: dict[str, Step] = {}
_fresh = Histogram()
_listening: list[Listener] = []
_counters: dict[str, int] = {}
_busy: dict[str, tuple[int, float]] = {}


def step(name: str) -> Step:
    """Return the step of this name, for ``with metrics.step("decode"):``.

    Examples
    --------
    >>> with step("example"):
    ...     pass
    >>> snapshot()["example"].count
    1
    """
    found = _steps.get(name)
    if found is None:
        found = _steps[name] = Step(name)
    return found


def steps() -> dict[str, Step]:
    """Return all steps by name."""
    return dict(_steps)


def listen(listener: Listener | None) -> None:
    """Name who is told of every step that has run, its begin and its end (perf_counter_ns)."""
    _listening[:] = [] if listener is None else [listener]


def note_written(published_ms: int) -> None:
    """Note that what follows from a record is written, and how long ago that was published.

    Parameters
    ----------
    published_ms
        The broker's time of the record, epoch milliseconds; 0 or less is unknown.
    """
    if published_ms > 0:  # two machines' clocks may differ by more than that it took
        _fresh.add(max(0, time.time_ns() - published_ms * 1_000_000))


def freshness() -> Histogram:
    """Return how long records took from their publishing until what follows is written."""
    return _fresh


def count(name: str, more: int = 1) -> None:
    """Add to a counter."""
    _counters[name] = _counters.get(name, 0) + more


def counters() -> dict[str, int]:
    """Return all counters."""
    return dict(_counters)


def note_busy(user: str, events: int) -> None:
    """Note that a user goes too fast, and how many events he had in his newest minute."""
    _busy.pop(user, None)
    _busy[user] = (events, time.monotonic())
    for first in list(_busy)[:-_BUSY_KEPT]:
        del _busy[first]


def note_gone(user: str) -> None:
    """Name a user no more: he is forgotten."""
    _busy.pop(user, None)


def busiest() -> dict[str, int]:
    """Return who was noted as busy in the last minute, the fastest first, ten at the most."""
    since = time.monotonic() - _BUSY_S
    for user in [user for user, (_, at) in _busy.items() if at < since]:
        del _busy[user]
    found = sorted(((events, user) for user, (events, _) in _busy.items()), reverse=True)
    return {user: events for events, user in found[:_BUSY_SHOWN]}


def snapshot() -> dict[str, StepFigures]:
    """Return the figures of all steps."""
    return {name: one.figures() for name, one in _steps.items()}


def reset() -> None:
    """Forget everything: for the begin of a benchmark or a test."""
    _steps.clear()
    _counters.clear()
    _busy.clear()
    _fresh.clear()
    gauges.reset()


class Pulse(Struct, frozen=True):
    """What a running consumer says of itself under ``keys.heartbeat(name)``.

    Times are epoch milliseconds; ``events_per_s`` is since the pulse before;
    ``busy`` has users that go too fast, with their events in a minute; ``fresh`` says how long
    records took from their publishing until what follows from them was written.
    """

    name: str
    host: str
    pid: int
    group: str
    started_at: int
    at: int
    events: int
    events_per_s: float
    lag: int
    partitions: list[str]
    counters: dict[str, int]
    steps: dict[str, StepFigures]
    busy: dict[str, int] = {}
    fresh: StepFigures = StepFigures(0, 0.0, 0.0, 0.0, 0.0)


class Heart:
    """Says when the next pulse is due, and writes it.

    Parameters
    ----------
    name
        The consumer's name.
    group
        Its consumer group.
    every_s
        Seconds between two pulses.
    """

    LIFE_MS: Final = 10_000
    """A consumer not heard of for so long is gone."""

    def __init__(self, name: str, group: str, every_s: float = 1.0) -> None:
        self.name, self.group = name, group
        self.host, self.pid = socket.gethostname(), os.getpid()
        self._every_s = every_s
        self._started_at = _now_ms()
        self._last = time.monotonic()
        self._events = 0

    @property
    def process(self) -> str:
        """The name by which this process is told from others: ``name:host:pid``."""
        return f"{self.name}:{self.host}:{self.pid}"

    def due(self) -> bool:
        """Return whether a pulse is due."""
        return time.monotonic() - self._last >= self._every_s

    def pulse(
        self, events: int, lags: Mapping[TopicPartition, int], partitions: Mapping[str, int]
    ) -> bytes:
        """Return the pulse as JSON, and look at the gauges.

        Parameters
        ----------
        events
            Records handled so far.
        lags
            Partition -> how many records wait in it.
        partitions
            Name -> next offset.
        """
        now = time.monotonic()
        gauges.put(gauges.BEAT, {(): time.time()})
        gauges.put(gauges.LAG, {(at.topic, str(at.partition)): n for at, n in lags.items()})
        gauges.look()
        rate = (events - self._events) / max(now - self._last, 1e-9)
        self._last, self._events = now, events
        pulse = Pulse(
            name=self.name,
            host=self.host,
            pid=self.pid,
            group=self.group,
            started_at=self._started_at,
            at=_now_ms(),
            events=events,
            events_per_s=round(rate, 1),
            lag=sum(lags.values()),
            partitions=[f"{name}@{offset}" for name, offset in sorted(partitions.items())],
            counters=counters(),
            steps=snapshot(),
            busy=busiest(),
            fresh=_fresh.figures(),
        )
        return msgspec.json.encode(pulse)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
