"""What goes wrong in a run, and when: drawn from a seed, before it begins."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

from stream.faults import POINTS

__all__ = ["Action", "Schedule", "draw"]

Name = Literal["personalize", "neighbours", "catalogue", "archive"]
NAMES: Final[tuple[Name, ...]] = ("personalize", "neighbours", "catalogue", "archive")

LOGS: Final = 10
"""So many logs are there; each is replayed once for all runs that publish it."""

LONG_PAUSE_S: Final = 8.5
"""Longer than ``kafka.session_s``: meanwhile the partitions move."""


@dataclass(frozen=True)
class Action:
    """One fault.

    Attributes
    ----------
    at
        Seconds after the run's beginning.
    kind
        What is done, see :class:`tests.faults.scene.Scene`.
    name
        The consumer, or the server, that it is done to.
    seconds
        How long it lasts.
    point, nth, end
        The point of the checkpoint, at which reaching of it, and how: ``kill`` or ``stop``.
    """

    at: float
    kind: str
    name: str = ""
    seconds: float = 0.0
    point: str = ""
    nth: int = 1
    end: str = "kill"

    def __str__(self) -> str:
        more = f" {self.end} at {self.point!r} no. {self.nth}" if self.point else ""
        lasts = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.kind} {self.name}{more}{lasts}"


@dataclass(frozen=True)
class Schedule:
    """One run: which log, how fast, by how many processes, and what goes wrong."""

    seed: int
    log: int
    assignment: str
    publish_s: float
    wanted: dict[Name, int]
    actions: tuple[Action, ...]


def draw(seed: int) -> Schedule:
    """Return the schedule of a seed.

    Consecutive seeds pass through all points; Kafka is restarted in one of ten.
    """
    chance = random.Random(f"faults {seed}")
    publish_s = chance.uniform(4, 7)
    actions = [_at_point(seed, chance)]
    drawn = chance.choices(*zip(*_KINDS, strict=True), k=chance.randrange(2, 5))
    actions += [make(chance, publish_s) for make in drawn]
    if seed % 10 == 7:
        end = chance.choice(("kill", "stop"))
        seconds = chance.uniform(0, 2)
        at = chance.uniform(1, publish_s)
        actions.append(Action(at, "restart", "kafka", seconds=seconds, end=end))
    return Schedule(
        seed=seed,
        log=seed % LOGS,
        assignment=chance.choice(("cooperative-sticky", "range")),
        publish_s=publish_s,
        wanted={name: chance.choice((1, 2)) for name in NAMES},
        actions=tuple(sorted(actions, key=lambda one: one.at)),
    )


def _at_point(seed: int, chance: random.Random) -> Action:
    """Return the death, or the long sleep, of a process at the point that is this seed's turn."""
    point = list(POINTS)[seed % len(POINTS)]
    name: str = "archive" if point.startswith("archive") else chance.choice(NAMES[:3])
    if point == "produced":
        name = "personalize"
    nth = 1 if point == "gained" else chance.randrange(1, 8)
    end = chance.choice(("kill", "kill", "stop"))
    pause = LONG_PAUSE_S if end == "stop" else 0.0
    at = chance.uniform(0, 2)
    return Action(at, "arm", name, seconds=pause, point=point, nth=nth, end=end)


def _kill(chance: random.Random, publish_s: float) -> Action:
    return Action(chance.uniform(0.3, publish_s + 0.5), "kill", chance.choice(NAMES))


def _pause(chance: random.Random, publish_s: float) -> Action:
    seconds = chance.choice((chance.uniform(0.2, 2), LONG_PAUSE_S, LONG_PAUSE_S))
    return Action(chance.uniform(0.3, publish_s), "pause", chance.choice(NAMES), seconds=seconds)


def _more(chance: random.Random, publish_s: float) -> Action:
    return Action(
        *(chance.uniform(0.3, publish_s), "start", chance.choice(NAMES)),
        seconds=chance.uniform(1, 4),
    )


def _fewer(chance: random.Random, publish_s: float) -> Action:
    return Action(chance.uniform(0.3, publish_s + 0.5), "end", chance.choice(NAMES))


def _redis(chance: random.Random, publish_s: float) -> Action:
    kind = chance.choice(("restart", "lose", "lose"))
    return Action(
        *(chance.uniform(1.5, publish_s + 1.5), kind, "redis"),
        seconds=chance.uniform(0.1, 1.5),
        end=chance.choice(("kill", "stop")),
    )


def _wire(chance: random.Random, publish_s: float) -> Action:
    kind, server = chance.choice(("stall", "drop", "cut")), chance.choice(("redis", "kafka"))
    seconds = chance.uniform(0.3, 4) if kind == "stall" else 0.0
    nth = chance.randrange(1, 60_000)
    return Action(chance.uniform(0.3, publish_s + 0.5), kind, server, seconds=seconds, nth=nth)


Maker = Callable[[random.Random, float], Action]
_KINDS: Final[tuple[tuple[Maker, int], ...]] = (
    (_kill, 3),
    (_pause, 2),
    (_more, 1),
    (_fewer, 1),
    (_redis, 3),
    (_wire, 3),
)
"""What goes wrong, and how often beside the others."""
