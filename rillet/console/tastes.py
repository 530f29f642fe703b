"""What a user's history says of him, and how that changed: for the eye, not for the engine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from features.card import ItemCard
from features.session import Session
from rillet.console.curves import Curve

__all__ = ["tastes", "tastes_over_time"]

FADE: Final = 0.9
"""By how much each later interaction makes an earlier one count less."""

CURVES: Final = 5
UNKNOWN: Final = "unknown"


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
    best = Counter[str]()
    for _, shares in steps:
        for name, share in shares.items():
            best[name] = max(best[name], share)  # type: ignore[assignment]
    times = [float(number) for number, _ in steps]
    return {
        name: Curve(times, [shares.get(name, 0.0) for _, shares in steps])
        for name, _ in best.most_common(CURVES)
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
