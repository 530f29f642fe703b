"""The list of candidate sources; a new one is a file and a line here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from models.projection import Centred
from models.sources.base import Source, World
from models.sources.content import Content, Query
from models.sources.factors import Factors
from models.sources.neighbours import Horizon, Neighbours
from models.sources.own import Fresh, Repeat, Routine
from models.sources.popular import CategoryTrend, Popular
from models.sources.transformer import Transformer
from stream.errors import SettingsError

__all__ = ["SOURCES", "build_sources", "check_names"]

SHORT: Final = Horizon(window=15, decay=0.5, visit_decay=0.3, powers=(0.6, 0.3))
LAST: Final = Horizon(window=1, decay=1.0, visit_decay=1.0, powers=(1.0, 0.0))
LONG: Final = Horizon(window=100, decay=0.97, visit_decay=1.0, powers=(1.0, 0.0))

SOURCES: Final[dict[str, Callable[[World, Centred], Source]]] = {
    "neighbours": lambda world, _: Neighbours(world, "neighbours", SHORT),
    "last": lambda world, _: Neighbours(world, "last", LAST),
    "history": lambda world, _: Neighbours(world, "history", LONG),
    "content": lambda _, near: Content(near, "content", window=5, decay=0.6),
    "taste": lambda _, near: Content(near, "taste", window=30, decay=1.0),
    "query": Query,
    "trending_hour": lambda world, _: Popular(world, "hour"),
    "trending_day": lambda world, _: Popular(world, "day"),
    "trending_week": lambda world, _: Popular(world, "week"),
    "trending_month": lambda world, _: Popular(world, "month"),
    "trending_category": lambda world, _: CategoryTrend(world),
    "repeat": lambda world, _: Repeat(world),
    "routine": lambda world, _: Routine(world),
    "factors": lambda world, _: Factors(world),
    "transformer": lambda world, _: Transformer(world),
    "new": lambda world, _: Fresh(world),
}


def check_names(enabled: tuple[str, ...]) -> None:
    """See that every name is that of a source.

    Raises
    ------
    SettingsError
        A name is not.
    """
    unknown = sorted(set(enabled) - set(SOURCES))
    if unknown:
        raise SettingsError(
            f"sources.enabled: no source is called {', '.join(unknown)}",
            f"the sources are {', '.join(SOURCES)}",
        )


def build_sources(
    world: World, near: Centred | None = None, enabled: tuple[str, ...] = ()
) -> list[Source]:
    """Return the enabled sources, all of them where none is named.

    Parameters
    ----------
    world
        What they know.
    near
        The content vectors that are compared; None takes them whole.
    enabled
        Their names.

    Raises
    ------
    SettingsError
        A name is not a source.
    """
    check_names(enabled)
    near = near or Centred(world.catalogue)
    chosen = [build for name, build in SOURCES.items() if not enabled or name in enabled]
    return [build(world, near) for build in chosen]
