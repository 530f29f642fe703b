"""Trained models as the page shows them, and changing which is the current one."""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from models.manifest import KINDS, Kind, Manifest
from models.registry import Pointer, Registry
from stream.announcement import Announced, announce
from stream.errors import ModelError
from stream.settings import Settings
from stream.store import Store

__all__ = ["Version", "promote", "rollback", "versions"]

REASON = "by hand, in the console"


class Version(NamedTuple):
    """A trained model.

    Attributes
    ----------
    status
        ``current``, ``before``, ``damaged``, or what the gate said.
    notes
        Why, or what is wrong with it.
    back
        Whether a rollback of its kind has somewhere to go; of a current one.
    """

    version: str
    kind: str
    status: str
    made_at: int
    notes: str
    back: bool = False


def versions(settings: Settings) -> list[Version]:
    """Return all versions, newest first.

    Raises
    ------
    FolderError
        The registry cannot be reached.
    """
    registry = Registry(settings.training.registry)
    pointers = {kind: _pointer(registry, kind) for kind in KINDS}
    found = []
    for entry in reversed(registry.entries()):
        if entry.manifest is None:
            found.append(Version(entry.version, "", "damaged", 0, entry.problem))
        else:
            found.append(_version(entry.manifest, pointers[entry.manifest.kind]))
    return found


def _pointer(registry: Registry, kind: Kind) -> Pointer | None:
    try:
        return registry.current(kind)
    except ModelError:
        return None


def _version(manifest: Manifest, pointer: Pointer | None) -> Version:
    status, back = str(manifest.status), False
    if pointer is not None and manifest.version == pointer.current.version:
        status, back = "current", bool(pointer.before)
    elif pointer is not None and manifest.version == pointer.before:
        status = "before"
    notes = "; ".join(manifest.notes)
    return Version(manifest.version, manifest.kind, status, manifest.made_at, notes, back)


def promote(settings: Settings, version: str) -> str:
    """Make a version the current one, tell the consumers, and say so.

    Raises
    ------
    ModelError
        It is missing or damaged; nothing has changed.
    FolderError, StoreError
        The registry or Redis cannot be reached.
    """
    registry = Registry(settings.training.registry)
    return _tell(settings, registry, registry.promote(version, REASON))


def rollback(settings: Settings, kind: Kind) -> str:
    """Go back to the version before the current one, tell the consumers, and say so.

    Raises
    ------
    ModelError
        There is none before; nothing has changed.
    FolderError, StoreError
        The registry or Redis cannot be reached.
    """
    registry = Registry(settings.training.registry)
    return _tell(settings, registry, registry.rollback(kind, REASON))


def _tell(settings: Settings, registry: Registry, pointer: Pointer) -> str:
    current = pointer.current
    with closing(Store(settings.redis, retry_s=1.0, make=False)) as store:
        announce(store, pointer.kind, Announced(current.version, registry.url, current.at))
    return f"{current.version} is the current {pointer.kind} model; running consumers load it now"
