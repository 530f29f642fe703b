"""What was seen, as figures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from benchmarks.place import Place
from benchmarks.swap.offers import Offer
from benchmarks.watch import Seen
from features.session import decode_session
from models.answer import decode_answer
from stream.events import Event, Interaction, partition_key

__all__ = ["Sight", "account", "figures", "percentiles"]

WINDOW_S: Final = 10.0
"""So long after it was offered a model counts as on its way."""

EDGE_S: Final = 2.0
"""Memory before and after is the median of so many seconds."""

SHARES: Final = {"p50": 50.0, "p99": 99.0, "max": 100.0}


@dataclass(frozen=True, slots=True)
class Sight:
    """What was seen of a run.

    Attributes
    ----------
    at_s
        When each event was due, in seconds of the schedule.
    seen
        How long each took to show in its user's list.
    late_s
        How late each was published.
    shown
        When a new list was seen, and which model it was made with.
    memory
        When personalize was weighed, and its resident MiB.
    offers
        The models offered.
    """

    at_s: list[float]
    seen: Seen
    late_s: list[float]
    shown: list[tuple[float, str]]
    memory: list[tuple[float, float]]
    offers: list[Offer]


def figures(sight: Sight) -> dict[str, Any]:
    """Return percentiles overall, before the first offer, and around each offer."""
    end = sight.at_s[-1]
    first = sight.offers[0].begun_s
    return {
        "events": len(sight.at_s),
        "unseen": sum(delay is None for delay in sight.seen.delays_s),
        "latency_ms": _latency(sight, 0.0, end),
        "before_ms": _latency(sight, 0.0, first),
        "publisher_late_ms": percentiles(sight.late_s),
        "look_every_ms": percentiles(sight.seen.gaps_s),
        "offers": [_offer(sight, offer) for offer in sight.offers],
        "lists": dict(Counter(model or "none" for _, model in sight.shown)),
        "memory_mib": {
            "begin": _memory(sight, 0.0, EDGE_S),
            "end": _memory(sight, end - EDGE_S, end),
            "peak": round(max(mib for _, mib in sight.memory), 1),
        },
    }


def percentiles(seconds: Sequence[float]) -> dict[str, float]:
    """Return p50, p99 and the maximum in milliseconds."""
    values = np.percentile(np.array(seconds or [0.0]) * 1000, list(SHARES.values()))
    return {name: round(float(ms), 1) for name, ms in zip(SHARES, values, strict=True)}


def _latency(sight: Sight, begin: float, end: float) -> dict[str, float]:
    """Return percentiles of the events that were on their way at any time in between."""
    pairs = zip(sight.at_s, sight.seen.delays_s, strict=True)
    return percentiles(
        [delay for at, delay in pairs if delay is not None and at + delay >= begin and at <= end]
    )


def _memory(sight: Sight, begin: float, end: float) -> float:
    found = [mib for at, mib in sight.memory if begin <= at <= end]
    return round(float(np.median(found)), 1) if found else 0.0


def _offer(sight: Sight, offer: Offer) -> dict[str, Any]:
    begin, end = offer.begun_s, offer.begun_s + WINDOW_S
    times = [at for at, model in sight.shown if model == offer.version]
    late = [s for at, s in zip(sight.at_s, sight.late_s, strict=True) if begin <= at <= end]
    peak = max((mib for at, mib in sight.memory if begin <= at <= end), default=0.0)
    return offer.as_dict() | {
        "latency_ms": _latency(sight, begin, end),
        "publisher_late_max_ms": percentiles(late)["max"],
        "lists": len(times),
        "first_list_after_s": round(min(times) - begin, 2) if times else None,
        "memory_mib": {
            "before": _memory(sight, begin - EDGE_S, begin),
            "peak": round(peak, 1),
            "after": _memory(sight, end - EDGE_S, end),
        },
    }


def account(place: Place, events: Sequence[Event]) -> dict[str, int]:
    """Return how many events are missing in users' states, or are in them twice.

    Both by the states' own counts, of all events and of each type of interaction. A list
    is behind where it does not take into account the last event of its user's state.
    """
    published: Counter[tuple[str, str]] = Counter()
    for event in events:
        user = partition_key(event)
        published[user, ""] += 1
        if isinstance(event, Interaction):
            published[user, event.type] += 1
    users = sorted({user for user, _ in published})
    keys = place.store.keys
    states = dict(zip(users, place.store.get_many([keys.session(u) for u in users]), strict=True))
    lists = dict(zip(users, place.store.get_many([keys.recs(u) for u in users]), strict=True))
    folded = _folded(states)
    off = {name: folded[name] - published[name] for name in published | folded}
    both = {name: abs(by) for name, by in off.items() if name[1]}
    behind = sum(_behind(states[user], lists[user]) for user in users)
    return {
        "published": len(events),
        "folded": sum(many for (_, kind), many in folded.items() if not kind),
        "users": len(users),
        "lost": sum(-by for (_, kind), by in off.items() if not kind and by < 0),
        "doubled": sum(by for (_, kind), by in off.items() if not kind and by > 0),
        "types_off": sum(both.values()),
        "lists_behind": behind,
    }


def _folded(states: Mapping[str, bytes | None]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for user, raw in states.items():
        if raw is None:
            continue
        session = decode_session(raw)
        found[user, ""] += session.events
        for kind, many in session.windows.totals.items():
            if kind not in ("shown", "taken", "search"):
                found[user, kind] += int(many)
    return found


def _behind(state: bytes | None, answer: bytes | None) -> bool:
    """Whether there is no list, or one that is not of the state's last event."""
    if state is None or answer is None:
        return True
    return decode_answer(answer).as_of != decode_session(state).as_of
