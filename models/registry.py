"""Where trained models lie: a folder of versions, and a pointer to the current one of each kind.

::

    models-registry/
        20261124T183000-ab12cd/
            weights.safetensors
            manifest.json            written last: without it there is no version
        current-sequence.json        the pointer, and what it pointed at before

A version is never changed, but for what the gate said of it. Nothing in it is
a pickle, and no file is parsed before its size and SHA-256 are what the
manifest says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace
from numpy.typing import NDArray

from models.arrays import Arrays
from models.manifest import (
    KINDS,
    MANIFEST,
    WEIGHTS,
    Kind,
    Manifest,
    Status,
    check_name,
    describe,
    is_version,
    name_version,
    seal,
    stamp,
    stamp_of,
    unseal,
)
from models.weights import parse_weights, weights_file
from stream.errors import ModelError
from stream.folder import Folder

__all__ = ["Entry", "Pointer", "Promotion", "Registry"]

HISTORY: Final = 100
"""Promotions remembered; nobody rolls back further."""

UNFINISHED_MS: Final = 86_400_000
"""After so long a version without a manifest is debris of a job that died."""


class Promotion(Struct, frozen=True):
    """A version that became the current one: when (epoch ms), and why."""

    version: str
    at: int
    reason: str = ""


class Pointer(Struct, frozen=True):
    """Which version of a kind is the current one.

    Attributes
    ----------
    history
        Oldest first; the last is the current one, the one before it is what a
        rollback goes to.
    undone
        What was rolled back, oldest first.
    """

    kind: Kind
    history: list[Promotion]
    undone: list[Promotion] = []

    @property
    def current(self) -> Promotion:
        """The promotion of the current version."""
        return self.history[-1]

    @property
    def before(self) -> str:
        """The version to which a rollback goes; "" where there is none."""
        return self.history[-2].version if len(self.history) > 1 else ""


class Entry(Struct, frozen=True):
    """A version in a listing: its manifest, or why there is none to show."""

    version: str
    manifest: Manifest | None
    problem: str = ""


class Registry:
    """Adds, loads, promotes and prunes versions.

    Several processes may use one registry at once. Of two promotions at the
    same moment the last one wins.

    Parameters
    ----------
    place
        The folder, or where it is: any path or URL of fsspec.

    Raises
    ------
    FolderError
        From any method: the folder cannot be reached, or refuses.

    Examples
    --------
    >>> import numpy as np
    >>> registry = Registry("memory://registry-doctest")
    >>> version = registry.add({"w": np.arange(3.0)}, Manifest("sequence", seed=1))
    >>> registry.promote(version, "the first").current.version == version
    True
    >>> arrays, manifest = registry.load(version)
    >>> arrays["w"], manifest.seed
    (array([0., 1., 2.]), 1)
    """

    def __init__(self, place: str | Folder) -> None:
        self._folder = place if isinstance(place, Folder) else Folder(place)

    @property
    def url(self) -> str:
        """Where the registry is, as another process may open it."""
        return self._folder.url

    def _damaged(self, version: str, what: str) -> ModelError:
        mend = "copy it again from where it was made, or promote another one; " + _list(self.url)
        return ModelError(f"model {version} is damaged: {what}", mend)

    def add(
        self, arrays: Arrays, manifest: Manifest, files: Mapping[str, bytes] | None = None
    ) -> str:
        """Write a new version and return its name; it is not the current one yet.

        Parameters
        ----------
        arrays
            The weights by name: booleans, integers or floats, all finite.
        manifest
            What is known of the model; ``version``, ``made_at``, ``files`` and
            ``seal`` are set here.
        files
            Further files by name, which may have folders in it.

        Raises
        ------
        ModelError
            A number is not finite, or a file has a name that it cannot have.
        """
        contents = dict(files or {})
        for name in contents:
            _checked(name)
        try:
            contents[WEIGHTS] = weights_file(arrays)
        except ValueError as error:
            raise ModelError(str(error), "a training that diverged needs a lower rate") from error
        described = {name: describe(content) for name, content in sorted(contents.items())}
        now = self._folder.clock.now_ms()
        manifest = replace(manifest, version="", made_at=now, files=described, seal="")
        manifest = replace(manifest, version=name_version(manifest))
        for name, content in contents.items():
            self._folder.write(f"{manifest.version}/{name}", content)
        self._folder.write(f"{manifest.version}/{MANIFEST}", seal(manifest))
        return manifest.version

    def load(self, version: str) -> tuple[dict[str, NDArray[Any]], Manifest]:
        """Return a version's weights and manifest.

        Raises
        ------
        ModelError
            There is no such version, or a file of it is missing or differs
            from what was written.
        """
        files, manifest = self.load_files(version)
        try:
            return parse_weights(files[WEIGHTS]), manifest
        except ValueError as error:
            raise self._damaged(version, f"{WEIGHTS}: {error}") from error

    def load_files(self, version: str) -> tuple[dict[str, bytes], Manifest]:
        """Return all files of a version as they are, each verified, and the manifest.

        Raises
        ------
        ModelError
            As :meth:`load`.
        """
        manifest = self.manifest(version)
        return {name: self._verified(manifest, name) for name in manifest.files}, manifest

    def manifest(self, version: str) -> Manifest:
        """Return a version's manifest alone.

        Raises
        ------
        ModelError
            There is no such version, or its manifest is damaged or was edited.
        """
        raw = self._folder.read(f"{version}/{MANIFEST}") if is_version(version) else None
        if raw is None:
            raise ModelError(f"{self.url} has no model {version!r}", _list(self.url))
        try:
            manifest = unseal(raw)
        except ValueError as error:
            raise self._damaged(version, f"{MANIFEST}: {error}") from error
        if manifest.version != version:
            raise self._damaged(version, f"{MANIFEST}: it is of {manifest.version}")
        if WEIGHTS not in manifest.files:
            raise self._damaged(version, f"{MANIFEST}: it names no {WEIGHTS}")
        return manifest

    def _verified(self, manifest: Manifest, name: str) -> bytes:
        """Return a file's content once it is what the manifest says."""
        place, wanted = f"{manifest.version}/{name}", manifest.files[name]
        size = self._folder.size(place)  # before it is read: it may be of any size
        if size is None:
            raise self._damaged(manifest.version, f"{name} is missing")
        if size != wanted.bytes:
            words = f"{name} has {size:,} bytes instead of {wanted.bytes:,}"
            raise self._damaged(manifest.version, words)
        content = self._folder.read(place)
        if content is None or describe(content) != wanted:
            raise self._damaged(manifest.version, f"{name} has another SHA-256 than it had")
        return content

    def entries(self, kind: Kind | None = None) -> list[Entry]:
        """Return all versions, oldest first; of a damaged one, why it is."""
        found = []
        for version in self._folder.names():
            if is_version(version) and self._folder.size(f"{version}/{MANIFEST}") is not None:
                try:
                    found.append(Entry(version, self.manifest(version)))
                except ModelError as error:
                    found.append(Entry(version, None, str(error)))
        found.sort(key=_made)  # names tell the second; several may be made in one
        return [one for one in found if kind is None or _kind(one) in (kind, None)]

    def mark(self, version: str, status: Status, notes: list[str], **more: Any) -> Manifest:
        """Write down what the gate said of a version, and ``metrics`` where it measured some.

        Raises
        ------
        ModelError
            As :meth:`manifest`.
        """
        manifest = replace(self.manifest(version), status=status, notes=notes, **more)
        self._folder.write(f"{version}/{MANIFEST}", seal(manifest))
        return manifest

    def current(self, kind: Kind) -> Pointer | None:
        """Return which version of a kind is the current one; None where none was promoted.

        Raises
        ------
        ModelError
            The pointer cannot be read.
        """
        raw = self._folder.read(_pointer(kind))
        if raw is None:
            return None
        try:
            pointer = msgspec.json.decode(raw, type=Pointer)
        except msgspec.DecodeError as error:
            raise _unpointed(self.url, kind, str(error)) from error
        if not pointer.history or pointer.kind != kind:
            raise _unpointed(self.url, kind, "it points at nothing of this kind")
        return pointer

    def promote(self, version: str, reason: str = "") -> Pointer:
        """Make a version the current one of its kind, once all its files are verified.

        Nothing changes where it is the current one already. A pointer that
        cannot be read is replaced.

        Raises
        ------
        ModelError
            As :meth:`load`; the current version stays.
        """
        _, manifest = self.load(version)
        try:
            pointer = self.current(manifest.kind)
        except ModelError:
            pointer = None
        pointer = pointer or Pointer(manifest.kind, [])
        if pointer.history and pointer.current.version == version:
            return pointer
        now = Promotion(version, self._folder.clock.now_ms(), reason)
        return self._point(replace(pointer, history=[*pointer.history, now]))

    def rollback(self, kind: Kind, reason: str = "") -> Pointer:
        """Make the version before the current one the current one again.

        A second rollback goes one further back.

        Raises
        ------
        ModelError
            There is none before, or it is gone or damaged; the current version stays.
        """
        pointer = self.current(kind)
        if pointer is None or not pointer.before:
            raise ModelError(f"there is no {kind} model to go back to", _list(self.url))
        self.load(pointer.before)
        now = Promotion(pointer.before, self._folder.clock.now_ms(), reason)
        undone = [*pointer.undone, pointer.current]
        return self._point(Pointer(kind, [*pointer.history[:-2], now], undone))

    def _point(self, pointer: Pointer) -> Pointer:
        short = Pointer(pointer.kind, pointer.history[-HISTORY:], pointer.undone[-HISTORY:])
        content = msgspec.json.format(msgspec.json.encode(short)) + b"\n"
        self._folder.write(_pointer(pointer.kind), content)
        return short

    def prune(self, keep: int) -> list[str]:
        """Remove all but the newest ``keep`` versions of each kind, and debris of dead jobs.

        The current version and the one before it always stay. So does one whose
        manifest is damaged, which somebody is to look at.

        Returns
        -------
        list[str]
            What was removed.

        Raises
        ------
        ModelError
            A pointer cannot be read, so nobody knows what is needed.
        """
        if keep < 1:
            raise ValueError("at least one version is kept")
        needless = self._unfinished()
        for kind in KINDS:
            of_kind = [one.version for one in self.entries(kind) if one.manifest is not None]
            needless += of_kind[:-keep]
        removed = []
        for version in needless:
            if version not in self._needed():  # asked each time: one may be promoted meanwhile
                self._folder.remove(f"{version}/{MANIFEST}")
                self._folder.remove(version)
                removed.append(version)
        return sorted(removed)

    def _needed(self) -> set[str]:
        pointers = [pointer for kind in KINDS if (pointer := self.current(kind))]
        return {one for p in pointers for one in (p.current.version, p.before)}

    def _unfinished(self) -> list[str]:
        """Return the versions that have no manifest and will not get one any more."""
        before = self._folder.clock.now_ms() - UNFINISHED_MS
        return [
            name
            for name in self._folder.names()
            if is_version(name) and stamp_of(name) < stamp(max(before, 0))
            if self._folder.size(f"{name}/{MANIFEST}") is None
        ]


def _made(entry: Entry) -> tuple[str, int]:
    return stamp_of(entry.version), entry.manifest.made_at if entry.manifest else 0


def _kind(entry: Entry) -> Kind | None:
    return entry.manifest.kind if entry.manifest else None


def _pointer(kind: Kind) -> str:
    if kind not in KINDS:
        raise ModelError(f"there are no models of kind {kind!r}", f"one of {', '.join(KINDS)}")
    return f"current-{kind}.json"


def _checked(name: str) -> None:
    try:
        check_name(name)
    except ValueError as error:
        raise ModelError(str(error), "letters, digits, _ . - and / are allowed") from error
    if name == WEIGHTS:
        raise ModelError(f"{WEIGHTS} is written from the arrays")


def _unpointed(url: str, kind: Kind, what: str) -> ModelError:
    mend = f"point it at a model again: `rillet models promote VERSION --registry {url}`"
    return ModelError(f"{url}/{_pointer(kind)} cannot be read: {what}", mend)


def _list(url: str) -> str:
    return f"`rillet models list --registry {url}` shows what there is"
