"""What a running consumer has to say of itself beside its counters: see :mod:`stream.gauges`."""

from __future__ import annotations

import datetime as dt

from consumers.catalogue import CatalogueConsumer
from consumers.personalize import Personalize
from models.manifest import is_version, stamp_of
from stream import gauges
from stream.loop import Handler

__all__ = ["made_at", "observe"]


def observe(handler: Handler) -> None:
    """Have a consumer asked with every heartbeat what it is like."""
    if isinstance(handler, Personalize):
        gauges.watch(gauges.EXAMPLES, handler.learners.examples)
        gauges.watch(gauges.ITEMS, lambda: {(): len(handler.engine.world.catalogue)})
        if (served := handler.served) is not None:
            gauges.watch(gauges.MADE, lambda: _made(served.versions))
    elif isinstance(handler, CatalogueConsumer) and (follower := handler.follower) is not None:
        gauges.watch(gauges.MADE, lambda: _made({follower.kind: follower.version}))


def _made(versions: dict[str, str]) -> dict[tuple[str, ...], float]:
    return {(kind, name): made_at(name) for kind, name in versions.items() if name}


def made_at(version: str) -> float:
    """Return when a version was made, epoch seconds, as its name says; 0 where it does not.

    Examples
    --------
    >>> made_at("20261129T120000-a1b2c3")
    1795953600.0
    >>> made_at("my-own")
    0.0
    """
    if not is_version(version):
        return 0.0
    made = dt.datetime.strptime(stamp_of(version), "%Y%m%dT%H%M%S")
    return made.replace(tzinfo=dt.UTC).timestamp()
