"""The logs that the harness publishes: a simulated shop, and what goes wrong with logs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from rillet.simulate import World
from stream.events import (
    Event,
    Identify,
    Interaction,
    Item,
    Ranking,
    decode,
    encode,
    partition_key,
)
from stream.partition import partition_of
from stream.records import Outgoing
from stream.routing import outgoing
from stream.settings import Settings
from tests.builders import forget, identify, withdraw

__all__ = ["PARTITIONS", "record_of", "shop"]

MINUTE_MS: Final = 60_000
PARTITIONS: Final = 4
QUIET: Final = 120
"""Events between the last of a user and that by which a visitor turns out to be him."""

BAD: Final = (b"no event at all", b'{"event":"interaction","timestamp":"never"}', b"\xff\x00")


def shop(seed: int) -> list[bytes]:
    """Return the lines of a small shop's log, a pure function of the seed.

    Items lie among what users do. Some events come twice, some late; some users are
    forgotten, and come again; an item is withdrawn; some visitors turn out to be users, who have
    done their last by then; some records are no events.
    """
    world, chance = World(seed=seed, users=70, items=240, days=1), random.Random(seed)
    events = [event for event in world.events() if not isinstance(event, Identify)]
    named = {name for event in events for name in _items_of(event)}
    events = [one for one in events if not isinstance(one, Item) or one.item in named]
    lines = [encode(event) for event in _identified(_troubled(events, chance), chance)]
    for bad in BAD:
        lines.insert(chance.randrange(len(lines) // 4, len(lines)), bad)
    return lines


def record_of(line: bytes, settings: Settings) -> Outgoing:
    """Return the record of a line, with its partition named.

    A record without a key may lie anywhere; here it lies where the replay has it too.
    """
    record = outgoing(line, decode(line), settings)
    place = partition_of(record.key or b"", PARTITIONS)
    return Outgoing(record.topic, record.value, record.key, place)


def _items_of(event: Event) -> list[str]:
    if isinstance(event, Interaction):
        return [event.item]
    return [shown.id for shown in event.items[:3]] if isinstance(event, Ranking) else []


def _troubled(events: Sequence[Event], chance: random.Random) -> list[Event]:
    """Return the events with some doubled, delayed, forgotten and withdrawn."""
    found: list[tuple[float, int, Event]] = []

    def add(at: float, event: Event) -> None:
        found.append((at, len(found), event))

    for place, event in enumerate(events):
        add(place, event)
        if isinstance(event, Item):
            if chance.random() < 0.05:
                add(place + chance.randrange(1, 400), event)
            continue
        if chance.random() < 0.05:  # published twice; with an id it counts once
            add(place + chance.randrange(1, 40), event)
        user = getattr(event, "user", None)
        if user is not None and chance.random() < 0.01:
            add(place + 0.5, forget(user, int(event.timestamp) + 1))
    items = [event for event in events if isinstance(event, Item)]
    for item in chance.sample(items, 3):
        add(chance.randrange(len(events)), withdraw(item.item, int(item.timestamp) + MINUTE_MS))
    return [event for _, _, event in sorted(found, key=lambda one: one[:2])]


def _identified(events: Sequence[Event], chance: random.Random) -> list[Event]:
    """Return the events with visitors who turn out to be users, some of whom are told twice.

    What is handed over is published behind all that is there then, which depends on how far
    the consumers are: so these users have done their last long before.
    """
    late = len(events) * 3 // 4
    seen: dict[str, list[int]] = {}
    for place, event in enumerate(events):
        if not isinstance(event, Item) and getattr(event, "item", "") is not None:
            seen.setdefault(partition_key(event), []).append(place)
    users = [one for one, at in seen.items() if one[0] == "u" and at[-1] < late - QUIET]
    visitors = [one for one, at in seen.items() if one[0] == "v" and at[0] < late]
    placed: dict[int, Identify] = {}
    for visitor, user in zip(chance.sample(visitors, 8), chance.sample(users, 8), strict=True):
        place = chance.randrange(late, len(events))
        time = max(int(events[at].timestamp) for at in seen[visitor] if at < place) + 1
        placed[place] = identify(visitor, user, time)
    found: list[Event] = []
    for place, event in enumerate(events):
        found.append(event)
        if place in placed:
            found += [placed[place]] * chance.choice((1, 1, 2))
    return found
