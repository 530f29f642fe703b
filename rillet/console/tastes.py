"""What a user's history says of him, and how that changed: for the eye, not for the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from features.card import ItemCard
from features.session import Session
from rillet.console.curves import Curve
from stream.store import DAY_MS

__all__ = ["deeds_by_day", "tastes", "tastes_over_time"]

FADE: Final = 0.9
"""By how much each later interaction makes an earlier one count less."""

CURVES: Final = 5
UNKNOWN: Final = "unknown"
KEPT: Final = 30


def _category(item: str, cards: Mapping[str, ItemCard]) -> str:
    card = cards.get(item)
    return card.categories[0] if card is not None and card.categories else UNKNOWN


def tastes(session: Session, cards: Mapping[str, ItemCard]) -> dict[str, float]:
    """Return the share of each category in what a user took lately, the largest first."""
    shares = _steps(session, cards)
    return dict(Counter(shares[-1][1]).most_common()) if shares else {}


def tastes_over_time(session: Session, cards: Mapping[str, ItemCard]) -> dict[str, Curve]:
    """Return how the shares of the largest categories went, interaction by interaction.

    The time of a curve is the number of the interaction: visits lie days apart.
    """
    steps = _steps(session, cards)
    if not steps:
        return {}
    best: dict[str, float] = {}
    for _, shares in steps:
        best |= {name: max(best.get(name, 0.0), share) for name, share in shares.items()}
    last = steps[-1][1]
    names = sorted(best, key=lambda name: -best[name])[:CURVES]
    times = [float(number) for number, _ in steps]
    return {
        name: Curve(times, [shares.get(name, 0.0) for _, shares in steps])
        for name in sorted(names, key=lambda name: -last.get(name, 0.0))
    }


def deeds_by_day(session: Session) -> dict[str, Curve]:
    """Return how often a user did what on each day that is remembered, the most frequent first."""
    days = session.windows.days
    known = sorted({int(day) for counts in days.values() for day in counts})
    if not known:
        return {}
    names = sorted((name for name in days if name != "shown"), key=lambda n: -sum(days[n].values()))
    every = range(known[0], known[-1] + 1)
    if known[-1] - known[0] > KEPT:  # a clock that ran ahead
        every = range(known[-1] - KEPT, known[-1] + 1)
    times = [float(day * DAY_MS) for day in every]
    return {
        name: Curve(times, [float(days[name].get(str(day), 0)) for day in every])
        for name in names[:CURVES]
    }


def _steps(session: Session, cards: Mapping[str, ItemCard]) -> list[tuple[int, dict[str, float]]]:
    weights: dict[str, float] = {}
    steps = []
    past = zip(session.history.items, session.history.signs, strict=True)
    for number, (item, sign) in enumerate(past, 1):
        if sign > 0:
            weights = {name: weight * FADE for name, weight in weights.items()}
            name = _category(item, cards)
            weights[name] = weights.get(name, 0.0) + 1.0
        total = sum(weights.values()) or 1.0
        steps.append((number, {name: weight / total for name, weight in weights.items()}))
    return steps
