"""How large an engine is to be: the numbers that an estimate rests on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from stream.errors import SettingsError
from stream.events import (
    BadRecord,
    Delete,
    Event,
    Identify,
    Interaction,
    Item,
    Ranking,
    Search,
    encode,
)

__all__ = ["Shape", "human", "number_of", "shape_of"]

_NUMBER: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([kKmMgGbB]?)")
_FACTOR: Final = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


@dataclass(frozen=True, slots=True)
class Shape:
    """Users, items, and what is usual of them; counts are means over all users or items.

    Attributes
    ----------
    users, items
        How many.
    history, lists, searches
        Interactions, shown lists and searches of a user while his state lives.
    shown
        Items of a shown list.
    repeats
        Share of a user's interactions that are with an item he had before.
    successors
        Distinct items that were taken after an item.
    gone
        Users who are deleted, or found to be another (`identify`), as a share of all: of each
        a tombstone stays.
    days
        Over which these were spread.
    user_chars, item_chars, id_chars
        Length of ids; the last of those of events and lists.
    title_chars, text_chars
        Length of an item's title, and of the other texts.
    """

    users: int
    items: int
    history: float = 20.0
    lists: float = 5.0
    searches: float = 1.0
    shown: float = 10.0
    repeats: float = 0.25
    successors: float = 60.0
    gone: float = 0.1
    days: float = 30.0
    user_chars: int = 12
    item_chars: int = 10
    id_chars: int = 10
    title_chars: int = 40
    text_chars: int = 300


def number_of(text: str) -> int:
    """Read a number as people write it.

    Examples
    --------
    >>> number_of("10M"), number_of("2.5k"), number_of("1_000")
    (10000000, 2500, 1000)

    Raises
    ------
    SettingsError
        It is none.
    """
    found = _NUMBER.fullmatch(text.strip().replace("_", "").replace(",", ""))
    if found is None:
        raise SettingsError(f"{text!r} is no number", "write it as 250000, 250k, 10M or 1.5B")
    return round(float(found[1]) * _FACTOR[found[2].lower()])


def human(size: float) -> str:
    """Return a number of bytes in the unit that suits it.

    Examples
    --------
    >>> human(1023), human(10_190), human(3 * 2**30)
    ('1,023 B', '10.0 KiB', '3.0 GiB')
    """
    power = 0
    while size >= 1024 and power < len(_UNITS) - 1:
        size, power = size / 1024, power + 1
    return f"{size:,.0f} B" if power == 0 else f"{size:,.1f} {_UNITS[power]}"


def shape_of(events: Iterable[Event | BadRecord], given: Shape) -> tuple[Shape, float]:
    """Return a shape with the means of a log in place of what was guessed, and bytes an event.

    Users, items and successors stay as they are given: a log is a sample of the
    first two, and says little of the third.

    Parameters
    ----------
    events
        The log.
    given
        What is not in the log.

    Raises
    ------
    SettingsError
        Nobody does anything in the log.
    """
    sums = dict.fromkeys(("deeds", "lists", "shown", "searches", "bytes", "ids", "id_chars"), 0)
    users: dict[str, set[str]] = {}
    items: dict[str, tuple[int, int]] = {}
    gone, first, last = set[str](), 2**63, 0
    for event in events:
        if isinstance(event, Item):
            texts = [one.value for one in event.fields if isinstance(one.value, str)]
            title = next((len(t) for t in texts), 0)
            items[event.item] = (title, max(0, sum(map(len, texts)) - title))
        elif isinstance(event, Identify | Delete):
            gone.update(_gone(event))
        elif isinstance(event, Ranking | Interaction | Search):
            _add(sums, event)
            mine = users.setdefault(event.actor, set())
            if isinstance(event, Interaction):
                mine.add(event.item)
            first, last = min(first, event.timestamp), max(last, event.timestamp)
    if not users:
        raise SettingsError("nobody does anything in the log", "it must hold what users did")
    many, count = len(users), max(1, len(items))
    found = replace(
        given,
        history=sums["deeds"] / many,
        lists=sums["lists"] / many,
        searches=sums["searches"] / many,
        shown=sums["shown"] / max(1, sums["lists"]),
        repeats=1 - sum(map(len, users.values())) / max(1, sums["deeds"]),
        gone=len(gone) / many,
        days=max(1.0, (last - first) / 86_400_000),
        user_chars=round(sum(map(len, users)) / many),
        id_chars=round(sums["id_chars"] / max(1, sums["ids"])),
    )
    if items:
        found = replace(
            found,
            item_chars=round(sum(map(len, items)) / count),
            title_chars=round(sum(title for title, _ in items.values()) / count),
            text_chars=round(sum(text for _, text in items.values()) / count),
        )
    return found, sums["bytes"] / (sums["deeds"] + sums["lists"] + sums["searches"])


def _gone(event: Identify | Delete) -> list[str]:
    """Return who leaves a tombstone by an event; the withdrawal of an item leaves none."""
    if isinstance(event, Identify):
        return [event.anonymous]
    return [] if event.user is None else [event.user]


def _add(sums: dict[str, int], event: Ranking | Interaction | Search) -> None:
    sums["bytes"] += len(encode(event))
    if event.id is not None:
        sums["ids"] += 1
        sums["id_chars"] += len(event.id)
    if isinstance(event, Ranking):
        sums["lists"] += 1
        sums["shown"] += len(event.items)
    else:
        sums["deeds" if isinstance(event, Interaction) else "searches"] += 1
