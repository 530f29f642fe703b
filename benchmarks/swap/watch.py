"""What is seen from beside: by which model a list was made, how much memory a process has."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Self

from benchmarks.watch import Watcher
from stream.settings import RedisSettings

__all__ = ["ModelWatcher", "Scales", "model_of", "resident"]

TAIL_BYTES: Final = 800
"""The model is named behind the items: so much of a list's end has it."""

EVERY_S: Final = 0.05
"""Between two looks at a process' memory."""

_MODEL: Final = re.compile(rb'"model":"[^"+]*(?:\+([^"]*))?","sources":')
_RESIDENT: Final = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


def model_of(tail: bytes) -> str:
    """Return the trained model that a list was made with, "" where there was none.

    Examples
    --------
    >>> model_of(b'}],"model":"blend-7+20261124T183000-ab12cd","sources":["new"],"gen')
    '20261124T183000-ab12cd'
    >>> model_of(b'}],"model":"blend-7","sources":[],"generated_at":1}')
    ''
    """
    found = _MODEL.search(tail)
    return (found.group(1) or b"").decode() if found else ""


def resident(pid: int) -> float:
    """Return a process' resident memory in MiB, 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("ascii", "replace")
    except OSError:
        return 0.0
    found = _RESIDENT.search(status)
    return int(found.group(1)) / 1024 if found else 0.0


class ModelWatcher(Watcher):
    """A watcher that also notes by which model each new list was made.

    Parameters
    ----------
    settings
        Where Redis is.
    """

    def __init__(self, settings: RedisSettings) -> None:
        super().__init__(settings)
        self._shown: list[tuple[float, str]] = []

    def _found(self, users: Sequence[str], at_s: float) -> None:
        """Read the end of each list that was new."""
        if users:
            pipe = self._redis.pipeline(transaction=False)
            for user in users:
                pipe.getrange(self._keys.recs(user), -TAIL_BYTES, -1)
            self._shown += [(at_s, model_of(tail)) for tail in pipe.execute()]

    def shown(self) -> list[tuple[float, str]]:
        """Return of each list that was new when it was seen, and its model."""
        return self._shown


class Scales:
    """A thread that weighs a process twenty times a second.

    Parameters
    ----------
    pid
        Of the process.
    begin
        From when times count, by ``time.monotonic``.

    Attributes
    ----------
    found
        Seconds since ``begin``, and MiB.
    """

    def __init__(self, pid: int, begin: float) -> None:
        self.found: list[tuple[float, float]] = []
        self._pid, self._begin = pid, begin
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._weigh, name="scales", daemon=True)

    def _weigh(self) -> None:
        while not self._stop.wait(EVERY_S):
            self.found.append((time.monotonic() - self._begin, resident(self._pid)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
