"""When the effect of an event can be read: a process that looks at Redis again and again."""

from __future__ import annotations

import re
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import redis

from stream.keys import Keys
from stream.settings import RedisSettings

__all__ = ["Due", "Seen", "Watcher", "event_time"]

HEAD_BYTES: Final = 127
"""A list's stamp, ``as_of``, comes first and ends within so many bytes."""

AT_ONCE: Final = 300
"""Users asked for in one round trip: those who wait longest."""

PAUSE_S: Final = 0.001

_TIME: Final = re.compile(rb'^\{"as_of":\{"partition":\d+,"offset":\d+,"event_time":(\d+)')


class Due(NamedTuple):
    """One event: its user, when it is published (seconds after the start), its timestamp."""

    user: str
    at_s: float
    time_ms: int


class Seen(NamedTuple):
    """What the watcher saw.

    Attributes
    ----------
    delays_s
        Of each event in order: from its time in the schedule to the answer that
        showed its effect; None where that never came.
    gaps_s
        Between two looks: how much too late a delay may be.
    """

    delays_s: list[float | None]
    gaps_s: list[float]


def event_time(head: bytes) -> int:
    """Return the event time that a list takes into account, -1 where there is no list.

    Examples
    --------
    >>> event_time(b'{"as_of":{"partition":3,"offset":9,"event_time":1700},"user":"u","it')
    1700
    >>> event_time(b"")
    -1
    """
    found = _TIME.match(head)
    return int(found.group(1)) if found else -1


class Watcher:
    """Looks at the lists of those users whose events are on their way.

    Only the first bytes of a list are asked for. An event counts as seen when
    its user's list is as of its time or a later one; a user's events are in
    order, so their lists cannot skip one.

    Parameters
    ----------
    settings
        Where Redis is.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self._keys = Keys(settings.prefix)
        self._redis: Any = redis.Redis.from_url(settings.url.get_secret_value())

    def watch(self, schedule: Sequence[Due], begin: float, patience_s: float) -> Seen:
        """Watch until everything was seen, or so long after the last event.

        Parameters
        ----------
        schedule
            The events in order.
        begin
            When the schedule starts, by ``time.monotonic``.
        patience_s
            How long to wait for the last ones.
        """
        delays: list[float | None] = [None] * len(schedule)
        gaps: list[float] = []
        waiting: defaultdict[str, deque[int]] = defaultdict(deque)
        coming, last_look = 0, 0.0
        end = begin + schedule[-1].at_s + patience_s
        while (now := time.monotonic()) < end:
            while coming < len(schedule) and begin + schedule[coming].at_s <= now:
                waiting[schedule[coming].user].append(coming)
                coming += 1
            if waiting:
                looked = self._look(schedule, begin, waiting, delays)
                if last_look:
                    gaps.append(looked - last_look)
                last_look = looked
            elif coming == len(schedule):
                break
            else:
                last_look = 0.0
            time.sleep(PAUSE_S)
        return Seen(delays, gaps)

    def _look(
        self,
        schedule: Sequence[Due],
        begin: float,
        waiting: dict[str, deque[int]],
        delays: list[float | None],
    ) -> float:
        """Ask once; take what was seen out of ``waiting``. Return when the answer was there."""
        users = list(waiting)[:AT_ONCE]
        pipe = self._redis.pipeline(transaction=False)
        for user in users:
            pipe.getrange(self._keys.recs(user), 0, HEAD_BYTES)
        heads = pipe.execute()
        now = time.monotonic()
        fresh = []
        for user, head in zip(users, heads, strict=True):
            reached, mine = event_time(head), waiting[user]
            before = len(mine)
            while mine and schedule[mine[0]].time_ms <= reached:
                number = mine.popleft()
                delays[number] = now - begin - schedule[number].at_s
            if len(mine) < before:
                fresh.append(user)
            if not mine:
                del waiting[user]
        self._found(fresh, now - begin)
        return now

    def _found(self, users: Sequence[str], at_s: float) -> None:
        """Look further at the lists that were new in a look; here nobody does."""

    def close(self) -> None:
        """Disconnect."""
        self._redis.close()
