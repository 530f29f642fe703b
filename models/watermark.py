"""The event time of a partition as most of its users tell it.

Events carry the clocks of the devices that sent them. The newest time seen
would let one device whose clock runs ahead decide for everybody that their
time is over; the median of the last events does not listen to it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import Final

__all__ = ["VOICES", "Watermark"]

VOICES: Final = 15
"""Events whose median is the time; so many arrive before it follows."""


class Watermark:
    """The low median of the last event times; it never turns back.

    A user who sends many events in a row has one voice, his last.

    Examples
    --------
    >>> clock = Watermark()
    >>> for user, time in [("a", 1_000), ("b", 1_010), ("fast", 9_000)]:
    ...     clock.hear(user, time)
    >>> clock.now
    1010
    """

    def __init__(self, voices: Sequence[tuple[str, int]] = (), now: int = 0) -> None:
        self._voices = deque(voices, maxlen=VOICES)
        self._times = sorted(time for _, time in self._voices)
        self.now = now

    def hear(self, user: str, time_ms: int) -> None:
        """Move on to an event of a user, at its epoch milliseconds."""
        voices, times = self._voices, self._times
        if voices and voices[-1][0] == user:
            del times[bisect_left(times, voices.pop()[1])]
        elif len(voices) == VOICES:
            del times[bisect_left(times, voices[0][1])]  # the oldest makes room
        voices.append((user, time_ms))
        insort(times, time_ms)
        self.now = max(self.now, times[(len(times) - 1) // 2])

    def forget(self, user: str) -> bool:
        """Let a user's voices be nobody's; tell whether there were any. The time stays."""
        found = any(name == user for name, _ in self._voices)
        named = [("" if name == user else name, time) for name, time in self._voices]
        self._voices = deque(named, maxlen=VOICES)
        return found

    def state(self) -> list[tuple[str, int]]:
        """Return the voices, for a new clock to begin with; ``now`` is kept beside them."""
        return list(self._voices)
