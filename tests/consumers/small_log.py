"""A small shop of two clusters of items, what its users do, and a replay of it."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec

from consumers.replay import Replay
from features.session import Session, decode_session
from models.answer import Answer, decode_answer
from stream.events import Event
from stream.store import Store
from tests.builders import (
    DAY,
    MINUTE,
    NOON,
    forget,
    identify,
    interaction,
    item,
    profile,
    ranking,
    search,
    withdraw,
)

BATCH = 48
KITCHEN = ["tea cup", "coffee mug", "kettle", "plate", "bowl", "spoon", "fork", "saucer"]
CYCLING = ["bell", "pedal", "saddle", "chain", "helmet", "lamp", "pump", "tyre"]
CLUSTERS = {
    "kitchen": [f"k{n}" for n in range(len(KITCHEN))],
    "cycling": [f"c{n}" for n in range(len(CYCLING))],
}
WITHDRAWN, FORGOTTEN = "k7", "user3"

Run = Callable[..., "Result"]


def the_items() -> list[Event]:
    named = [*zip(CLUSTERS["kitchen"], KITCHEN), *zip(CLUSTERS["cycling"], CYCLING)]  # noqa: B905
    return [
        item(
            name,
            NOON - DAY,
            title=f"{title.title()} for the {'kitchen' if name[0] == 'k' else 'bicycle'}",
            category="kitchen" if name[0] == "k" else "cycling",
            price=float(place + 1),
        )
        for place, (name, title) in enumerate(named)
    ]


def a_visit(user: str, at: int, cluster: str, chance: random.Random) -> list[Event]:
    """Return what a user does in one visit: a search, two lists with clicks, a purchase."""
    mine = CLUSTERS[cluster]
    events: list[Event] = [search(cluster, at, user)]
    for turn in range(2):
        at += MINUTE
        shown = chance.sample(mine, 3) + chance.sample(sum(CLUSTERS.values(), []), 2)
        name = f"{user}-{at}"
        events.append(ranking(dict.fromkeys(shown), at, user, id=name))
        events.append(interaction(shown[turn], at + 9000, user, ranking=name))
    events.append(interaction(chance.choice(mine), at + MINUTE, user, type="purchase"))
    return events


def the_log(visits: int = 60, seed: int = 5) -> list[Event]:
    chance = random.Random(seed)
    events: list[Event] = the_items()
    for n in range(visits):
        user, at = f"user{n % 10}", NOON + n * 5 * MINUTE
        cluster = "kitchen" if n % 10 < 5 else "cycling"
        events += a_visit(user, at, cluster, chance)
        if n == visits // 2:
            events.append(withdraw(WITHDRAWN, at + 3 * MINUTE))
            events.append(profile(at + 3 * MINUTE, "user1", age=7.0))
            events.append(interaction("k1", at + 3 * MINUTE, None, session="stranger"))
            events.append(identify("stranger", "user2", at + 4 * MINUTE))
    events = [e for e in events if getattr(e, "item", None) != WITHDRAWN or not _late(e, visits)]
    events.append(forget(FORGOTTEN, NOON + visits * 5 * MINUTE))
    return events


def _late(event: Event, visits: int) -> bool:
    return event.timestamp > NOON + (visits // 2) * 5 * MINUTE + 3 * MINUTE


class Result:
    """A finished replay: its consumers, and what lies in Redis."""

    def __init__(self, replay: Replay, store: Store) -> None:
        self.replay, self.store = replay, store

    def keys(self) -> dict[str, Any]:
        """Return every key without its prefix; the feed without the ids, which are times."""
        found: dict[str, Any] = {}
        client, head = self.store._redis, f"{self.store.settings.prefix}:"
        for key in client.keys(head + "*"):
            name = key.decode().removeprefix(head)
            if client.type(key) == b"stream":
                found[name] = [fields for _, fields in client.xrange(key)]
            else:
                found[name] = client.get(key)
        return found

    def sessions(self) -> dict[str, Session]:
        """Return every user's state, by name."""
        return {name: decode_session(raw) for name, raw in sorted(self.store.scan("session"))}

    def kind(self, kind: str) -> dict[str, Any]:
        return {name: msgspec.json.decode(raw) for name, raw in self.store.scan(kind)}

    def answer(self, user: str) -> Answer | None:
        raw = self.store.get(self.store.keys.recs(user))
        return None if raw is None else decode_answer(raw)

    def answers(self) -> dict[str, Answer]:
        return {name: decode_answer(raw) for name, raw in self.store.scan("recs")}
