"""Where time comes from: the wall, or a hand that tests move."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "HandClock", "ShiftedClock", "SystemClock"]


class Clock(Protocol):
    """Milliseconds since the epoch, wherever they come from."""

    def now_ms(self) -> int:
        """Return the current time in epoch milliseconds."""
        ...


class SystemClock:
    """The wall clock, for live runs."""

    def now_ms(self) -> int:
        """Return the wall time in epoch milliseconds."""
        return time.time_ns() // 1_000_000


class ShiftedClock:
    """Runs as the wall clock does, from another beginning: a simulated shop goes on.

    Parameters
    ----------
    start_ms
        What it shows now, epoch milliseconds.
    """

    def __init__(self, start_ms: int) -> None:
        self._ahead = start_ms - SystemClock().now_ms()

    def now_ms(self) -> int:
        """Return its time in epoch milliseconds."""
        return SystemClock().now_ms() + self._ahead


class HandClock:
    """A clock that stands still until it is moved: replays and tests.

    Examples
    --------
    >>> clock = HandClock(1_000)
    >>> clock.advance_to(1_500)
    >>> clock.advance_to(1_200)
    >>> clock.now_ms()
    1500
    """

    def __init__(self, start_ms: int = 0) -> None:
        self._now = start_ms

    def now_ms(self) -> int:
        """Return the time the hand points at, in epoch milliseconds."""
        return self._now

    def advance_to(self, time_ms: int) -> None:
        """Move the hand forward to ``time_ms``; it never goes back."""
        self._now = max(self._now, time_ms)
