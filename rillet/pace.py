"""How often something may be done whose cost nobody knows before."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["Pace"]

TIMES: Final = 30
"""Between two runs is so many times what the first one took."""


class Pace:
    """Says when it is time again; walking through a large Redis takes long, a small one nothing.

    Parameters
    ----------
    least_s
        Seconds that are always between two runs.
    clock
        Returns seconds.

    Examples
    --------
    >>> pace = Pace(5.0, clock=lambda: 1.0)
    >>> pace.due
    True
    >>> with pace.run():
    ...     pass
    >>> pace.due
    False
    """

    def __init__(self, least_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._least_s, self._clock, self._next = least_s, clock, -math.inf

    @property
    def due(self) -> bool:
        """Whether it may be done again."""
        return self._clock() >= self._next

    @contextmanager
    def run(self) -> Iterator[None]:
        """Do it; what fails may be tried again at once."""
        began = self._clock()
        yield
        now = self._clock()
        self._next = now + max(self._least_s, TIMES * (now - began))
