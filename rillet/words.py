"""Reasons in words: what a source says for an item, as a person would say it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from features.card import ItemCard
    from features.session import Session
    from models.answer import Reason

__all__ = ["WORDS", "ago", "all_in_words", "in_words", "spoken", "title_of"]

WORDS: Final = {
    "neighbours": "often follows {title}",
    "last": "often taken right after {title}",
    "history": "often comes after {title}",
    "content": "like {title}",
    "taste": "like what you took over time",
    "query": "fits your search",
    "words": "has the words of your search",
    "trending_hour": "trending now",
    "trending_day": "trending today",
    "trending_week": "trending this week",
    "trending_month": "trending this month",
    "trending_category": "trending in {category}",
    "repeat": "you took it before",
    "factors": "taken by people like you",
    "transformer": "what usually comes next",
    "routine": "you took it then before",
    "new": "new here",
    "owned": "you took it before",
    "in_visit": "you looked at it just now",
    "ignored": "you were shown it before",
    "price": "about what you spend",
    "category": "in a category you like",
    "brand": "by a maker you like",
    "rate": "often taken when shown",
    "worth": "often taken from lists like this",
    "choices": "like what you chose from lists",
}
"""What a source's word for an item is; a source without one is called by its name."""


def title_of(item: str, cards: Mapping[str, ItemCard]) -> str:
    """Return the item's title, "" where it has none."""
    return cards[item].title if item in cards else ""


def in_words(
    reason: Reason, cards: Mapping[str, ItemCard], session: Session | None, item: str
) -> str:
    """Return a reason for an item as a person would say it."""
    if reason.item is not None:
        title = "it" if reason.item == item else title_of(reason.item, cards) or reason.item
        when = _when(reason.item, session)
        if when:
            return f"you took {title} {when}"
        return WORDS.get(reason.source, "follows from {title}").format(title=title)
    words = WORDS.get(reason.source, "")
    if not words or "{title}" in words:
        return spoken(reason.source)
    return words.replace("{category}", _category(item, cards))


def all_in_words(
    reasons: Sequence[Reason], cards: Mapping[str, ItemCard], session: Session | None, item: str
) -> list[str]:
    """Return the reasons for an item as a person would say them, each once."""
    return list(dict.fromkeys(in_words(why, cards, session, item) for why in reasons))


def _category(item: str, cards: Mapping[str, ItemCard]) -> str:
    """Return the item's category, and of one that has several, or none, no name."""
    card = cards.get(item)
    return card.categories[0] if card and len(card.categories) == 1 else "one of its categories"


def spoken(name: str) -> str:
    """Return a source's name as a person would say it.

    Examples
    --------
    >>> spoken("trending_day")
    'trending day'
    """
    return name.replace("_", " ")


def _when(item: str, session: Session | None) -> str:
    """Return how long before the user's last event he took the item, "" where unknown."""
    if session is None:
        return ""
    past = list(zip(session.history.items, session.history.times, strict=True))
    times = [moment for one, moment in past if one == item]
    if not times:
        return ""
    left = session.as_of.event_time - max(times)
    return "just now" if left <= 0 else ago(left)


def ago(ms: float) -> str:
    """Return a length of time as a person would say it.

    Examples
    --------
    >>> ago(12_000), ago(7_200_000), ago(5 * 86_400_000)
    ('12 s ago', '2 h ago', '5 days ago')
    """
    if ms < 0:
        return "in the future"
    seconds = ms / 1000
    for limit, size, unit in ((120, 1, "s"), (7200, 60, "min"), (172_800, 3600, "h")):
        if seconds < limit:
            return f"{seconds // size:.0f} {unit} ago"
    return f"{seconds // 86_400:,.0f} days ago"
