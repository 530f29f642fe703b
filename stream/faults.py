"""Named points at which a process can be made to die or to stand still; off by default.

The fault harness (docs/faults.md) needs crashes exactly between two steps of a
checkpoint. A running engine has none of them armed, and passing a point then costs one
comparison.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import Final

from stream.errors import SettingsError

__all__ = ["ON_A_CLUSTER", "POINTS", "VARIABLE", "arm", "reach"]

log = logging.getLogger(__name__)

VARIABLE: Final = "RILLET_TEST_FAULT"
"""``POINT:NTH:kill`` or ``POINT:NTH:stop``: what happens when a point is reached so often."""

POINTS: Final = {
    "gained": "partitions are gained and their positions known; none is read yet",
    "polled": "records are there, nothing is done with them",
    "handled": "their writes are made up, nothing is written; others may have been told",
    "produced": "records for other consumers are in Kafka",
    "states": "stamped values are in Redis",
    "plain": "values without a stamp are in Redis",
    "changes": "the feed of changes tells of them",
    "positions": "the positions are in Redis",
    "committed": "the positions are in Kafka",
    "archive-polled": "records to archive are in hand",
    "archive-written": "a file of the archive is written, under a name of its own for now",
    "archive-renamed": "the file has its name, and counts not yet",
    "archive-files": "all files of a span are there, the span is not",
    "archive-span": "the span is there: the files count",
    "archive-committed": "the archive's positions are in Kafka",
}
"""The points, in the order in which a batch reaches them: those of the loop, then the archive's."""

ON_A_CLUSTER: Final = {"turn": "all stamped values but those of the last turn are in Redis"}
"""Points that only a Redis Cluster has batches pass."""

ACTIONS: Final = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class _Armed:
    point: str | None = None
    left = 0
    signal = signal.SIGKILL


def arm() -> None:
    """Arm the point that the environment of this process names, if it names one.

    Raises
    ------
    SettingsError
        It names a point or an action that does not exist.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    point, _, rest = wanted.partition(":")
    nth, _, action = rest.partition(":")
    points = POINTS | ON_A_CLUSTER
    if point not in points or action not in ACTIONS or not nth.isdigit() or nth == "0":
        raise SettingsError(
            f"{VARIABLE}={wanted} is no fault",
            f"POINT:NTH:ACTION, of the points {', '.join(points)} and {', '.join(ACTIONS)}",
        )
    _Armed.point, _Armed.left, _Armed.signal = point, int(nth), ACTIONS[action]
    log.warning("%s is set: this process is for tests, and ends at %r", VARIABLE, wanted)


def reach(point: str) -> None:
    """Pass a point; where it is armed and its time has come, die or stand still there."""
    if _Armed.point is not None and _Armed.point == point:
        _Armed.left -= 1
        if _Armed.left == 0:
            log.warning("the point %r is reached", point)
            os.kill(os.getpid(), _Armed.signal)
