"""The list of candidate sources; a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from models.sources.base import Source, World
from models.sources.content import Content, Query
from models.sources.neighbours import Neighbours
from models.sources.own import Fresh, Repeat
from models.sources.popular import CategoryTrend, Popular
from stream.errors import SettingsError

__all__ = ["SOURCES", "build_sources"]

SOURCES: Final[dict[str, Callable[[World], Source]]] = {
    "neighbours": Neighbours,
    "content": lambda world: Content(world, "content", half_life=2.0),
    "taste": lambda world: Content(world, "taste", half_life=25.0),
    "query": Query,
    "trending_hour": lambda world: Popular(world, "hour"),
    "trending_day": lambda world: Popular(world, "day"),
    "trending_week": lambda world: Popular(world, "week"),
    "trending_month": lambda world: Popular(world, "month"),
    "trending_category": CategoryTrend,
    "repeat": Repeat,
    "new": Fresh,
}


def build_sources(world: World, enabled: tuple[str, ...] = ()) -> list[Source]:
    """Return the enabled sources, all of them where none is named.

    Raises
    ------
    SettingsError
        A name is not a source.
    """
    unknown = sorted(set(enabled) - set(SOURCES))
    if unknown:
        raise SettingsError(
            f"sources.enabled: no source is called {', '.join(unknown)}",
            f"the sources are {', '.join(SOURCES)}",
        )
    return [build(world) for name, build in SOURCES.items() if not enabled or name in enabled]
