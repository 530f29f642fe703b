"""A list as the page shows it: places, moves, reasons in words, parts by source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from features.session import Session
from models.answer import Answer
from rillet.console.shelf import Shelf
from rillet.serving.answer import Ranked
from rillet.words import all_in_words, spoken

__all__ = ["SHOWN", "anchors", "by_source", "lines_of", "parts_of"]

SHOWN: Final = 12
"""Items of a list that are shown."""

PARTS: Final = 8
BIAS: Final = "bias"


def anchors(answer: Answer) -> list[str]:
    """Return the items that a list shows or names."""
    shown = answer.items[:SHOWN]
    named = [why.item for one in shown for why in one.reasons if why.item is not None]
    return [*(one.item for one in shown), *named]


def lines_of(
    answer: Answer,
    shelf: Shelf,
    session: Session | None,
    before: Sequence[str] | None,
) -> list[dict[str, Any]]:
    """Return the shown items of a list as plain values.

    Parameters
    ----------
    answer, shelf, session
        The list, where the items that it names are known, and whose it is.
    before
        Items of the list that was shown before, best first; None where there was none.
    """
    places = None if before is None else {item: place for place, item in enumerate(before, 1)}
    return [
        shelf.plain(one.item)
        | {
            "place": place,
            "chance": f"{one.score:.1%}",
            "why": all_in_words(one.reasons, shelf.cards, session, one.item),
        }
        | _moved(one.item, place, places)
        for place, one in enumerate(answer.items[:SHOWN], 1)
    ]


def _moved(item: str, place: int, before: Mapping[str, int] | None) -> dict[str, Any]:
    """Return where an item was: ``move`` for the eye, ``moved`` in words."""
    if before is None:
        return {"move": "", "moved": ""}
    was = before.get(item)
    if was is None or was > SHOWN:
        return {"move": "new", "moved": "new"}
    if was == place:
        return {"move": "", "moved": ""}
    by = abs(was - place)
    return (
        {"move": "up", "moved": f"▲ {by}"} if was > place else {"move": "down", "moved": f"▼ {by}"}
    )


def parts_of(found: Ranked) -> list[dict[str, Any]]:
    """Return what the sources and signals add to an item's score, the largest first."""
    parts = [(name, value) for name, value in found.parts.items() if name != BIAS and value]
    parts.sort(key=lambda one: -abs(one[1]))
    most = max((abs(value) for _, value in parts), default=1.0)
    return [
        {
            "name": spoken(name),
            "width": round(abs(value) / most * 100, 1),
            "against": value < 0,
            "value": f"{value:+.2f}",
        }
        for name, value in parts[:PARTS]
    ]


def by_source(answer: Answer) -> dict[str, float]:
    """Return each source's share in what put the first items there, the largest first.

    Sources that had something to say, and are nobody's main reason, have 0.
    """
    shares: dict[str, float] = dict.fromkeys(answer.sources, 0.0)
    explained = [one for one in answer.items[:SHOWN] if one.reasons]
    for why in (why for one in explained for why in one.reasons):
        shares[why.source] = shares.get(why.source, 0.0) + why.share / len(explained)
    return dict(sorted(shares.items(), key=lambda one: -one[1]))
