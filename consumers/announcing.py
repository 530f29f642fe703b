"""What the registry's pointers say, told to the consumers in Redis."""

from __future__ import annotations

from typing import Final

from models.manifest import Kind
from models.registry import Registry
from stream.announcement import Announced, announce, announced
from stream.store import Store

__all__ = ["IN_ORDER", "announce_all", "announce_current"]

IN_ORDER: Final[tuple[Kind, ...]] = ("encoder", "sequence")
"""The encoder comes first, so that the model which reads its vectors is not met before it."""


def announce_current(store: Store, registry: Registry, kind: Kind) -> None:
    """Tell which version of a kind is the current one, where Redis says otherwise.

    Raises
    ------
    ModelError, FolderError
        The registry cannot be read.
    StoreError
        Redis cannot be reached.
    """
    pointer = registry.current(kind)
    if pointer is None:
        return
    news, current = announced(store, kind), pointer.current
    if news is None or news.version != current.version:
        announce(store, kind, Announced(current.version, registry.url, current.at))


def announce_all(store: Store, registry: Registry) -> None:
    """Tell of all kinds: see :func:`announce_current`."""
    for kind in IN_ORDER:
        announce_current(store, registry, kind)
