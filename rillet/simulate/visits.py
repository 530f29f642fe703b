"""Who comes into the made-up shop when, and under which name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from rillet.simulate.vocabulary import SHELVES
from rillet.simulate.world import DAY_MS, World

__all__ = ["Visit", "schedule"]

COUNTRIES: Final = ("PT", "PL", "IE", "CA", "KE", "NZ", "CL", "SE")
DEVICES: Final = ("phone", "laptop", "tablet")
PAUSE_MS: Final = 3_600_000
"""Two visits of the same person begin at least this far apart."""

_HOURS: Final = np.array(
    [2, 1, 1, 1, 1, 2, 4, 6, 7, 7, 7, 7, 9, 8, 7, 7, 8, 9, 11, 13, 14, 12, 8, 4], dtype=float
)
"""How busy the shop is, by hour of the day."""


class Visit(NamedTuple):
    """One session to come.

    ``user`` is None where nobody is logged in; then ``session`` is the visitor's name.
    """

    time: int
    visitor: int
    length: int
    user: str | None
    session: str
    identifies: str | None
    """The anonymous name under which this user was known until now."""
    introduces: bool
    """Whether this is the first visit under the user's own name."""
    country: str
    newsletter: str | None
    device: str


def schedule(world: World) -> Iterator[Visit]:
    """Yield all visits of a world in time order."""
    rng = np.random.default_rng([world.plan.seed, 4])
    visitor, time, turn = _times(world, rng)
    order = np.lexsort((visitor, time))
    length = 1 + np.minimum(rng.lognormal(1.3, 0.9, len(order)), 60).astype(int)
    device = rng.choice(len(DEVICES), len(order), p=(0.6, 0.3, 0.1))
    people = _people(world, rng)
    kinds = world.visitors.kind.tolist()
    for place in order.tolist():
        who, when = int(visitor[place]), int(time[place])
        names = _names(who, int(turn[place]), kinds[who], place)
        country, newsletter = people[who]
        yield Visit(
            when, who, int(length[place]), *names, country, newsletter, DEVICES[device[place]]
        )


def _times(
    world: World, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return visitor, time and running number of each visit, by visitor, then time."""
    people, span = world.visitors, world.span_ms
    days = (span - people.joined) / DAY_MS
    visits = 1 + rng.poisson(people.rate * days)
    visitor = np.repeat(np.arange(len(visits)), visits)
    start = people.joined[visitor]
    time = start + (rng.random(len(visitor)) * (span - start)).astype(np.int64)
    hour = rng.choice(24, len(time), p=_HOURS / _HOURS.sum())
    shifted = time // DAY_MS * DAY_MS + hour * 3_600_000 + rng.integers(0, 3_600_000, len(time))
    time = np.where((shifted < span) & (shifted >= start), shifted, time)
    order = np.lexsort((time, visitor))
    visitor, time = visitor[order], time[order]
    first = np.r_[True, visitor[1:] != visitor[:-1]]
    keep = first | np.r_[True, np.diff(time) >= PAUSE_MS]
    visitor, time, first = visitor[keep], time[keep], first[keep]
    begins = np.flatnonzero(first)
    turn = np.arange(len(visitor)) - np.repeat(begins, np.diff(np.r_[begins, len(visitor)]))
    return visitor, time, turn


def _people(world: World, rng: np.random.Generator) -> list[tuple[str, str | None]]:
    """Return each visitor's country, and the newsletter some subscribe to: a hint of taste."""
    count = world.plan.users
    countries = rng.integers(0, len(COUNTRIES), count)
    subscribes = rng.random(count) < 0.35
    favourite = world.visitors.first_taste.argmax(axis=1)
    return [
        (COUNTRIES[country], SHELVES[shelf].department if wants else None)
        for country, shelf, wants in zip(countries, favourite, subscribes, strict=True)
    ]


def _names(who: int, turn: int, kind: int, place: int) -> tuple[str | None, str, str | None, bool]:
    """Return user, session, the name given up, and whether the user is new."""
    user, cookie = f"u{who + 1:05d}", f"v{who + 1:05d}"
    if kind == 0:
        return user, f"s{place}", None, turn == 0
    if kind == 1:
        logs_in = 1 + who % 2
        if turn < logs_in:
            return None, cookie, None, False
        return user, f"s{place}", cookie if turn == logs_in else None, turn == logs_in
    return None, f"{cookie}-{turn}", None, False
