"""A folder on any filesystem that fsspec knows: whole files, each there at once or not at all.

The model registry keeps its files in one. A path without a scheme is a local
folder; ``s3://``, ``gs://``, ``abfs://`` and others need their package
(``s3fs``, ``gcsfs``, ``adlfs``), and find keys and regions as it says.
"""

from __future__ import annotations

import os
import posixpath
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from fsspec.spec import AbstractFileSystem  # type: ignore[import-untyped]

from stream.clock import Clock, SystemClock
from stream.errors import FolderError

__all__ = ["Folder"]

_SECRET: Final = re.compile(r"(?<=://)[^/@]*@")
"""User and password in a URL, which no message is to show."""


class Folder:
    """Reads and writes whole files below one path.

    Parameters
    ----------
    url
        The folder: a path, or any URL of fsspec. It need not be there yet.
    clock
        What says when something was written; the wall where None.

    Raises
    ------
    FolderError
        From any method: the filesystem is unknown, cannot be reached, or refuses.

    Examples
    --------
    >>> folder = Folder("memory://folder-doctest")
    >>> folder.write("a/greeting.txt", b"hello")
    >>> folder.read("a/greeting.txt"), folder.read("a/none.txt")
    (b'hello', None)
    """

    def __init__(self, url: str, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self._shown = _SECRET.sub("", url)
        with self._told("opened"):
            self._fs, self._path = fsspec.core.url_to_fs(url)
        self._local = isinstance(self._fs, LocalFileSystem)
        # Object stores inherit a move that copies and deletes; but they put files whole anyhow.
        self._renames = type(self._fs).mv is not AbstractFileSystem.mv
        if self._local:
            self._shown = str(self._fs.unstrip_protocol(self._path))

    @property
    def url(self) -> str:
        """Where it is, as another process may open it; absolute, and names no password."""
        return self._shown

    def names(self) -> list[str]:
        """Return what lies directly in it, sorted; nothing where it is not there yet."""
        with self._told("listed"):
            self._fs.invalidate_cache()
            try:
                found = self._fs.ls(self._path, detail=False)
            except FileNotFoundError:
                return []
            return sorted({posixpath.basename(one.rstrip("/")) for one in found})

    def size(self, name: str) -> int | None:
        """Return the bytes of a file, None where there is none."""
        with self._told("read", name):
            self._fs.invalidate_cache()
            try:
                found = self._fs.info(self._at(name))
            except FileNotFoundError:
                return None
            return int(found["size"]) if found["type"] == "file" else None

    def read(self, name: str) -> bytes | None:
        """Return a file's content, None where there is none."""
        with self._told("read", name):
            try:
                return bytes(self._fs.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        """Write a file; readers see all of the old one or all of the new one.

        Where the filesystem can rename, it is written beside its place first.
        On local disks it has reached the disk when this returns.
        """
        path = self._at(name)
        with self._told("written", name):
            if not self._renames:
                self._fs.pipe_file(path, content)
                return
            above, base = posixpath.split(path)
            self._fs.makedirs(above, exist_ok=True)
            beside = f"{above}/.{base}.{uuid.uuid4().hex}.tmp"
            try:
                self._put(beside, content)
                self._fs.mv(beside, path)
            except BaseException:
                with suppress(Exception):
                    self._fs.rm(beside)
                raise

    def _put(self, path: str, content: bytes) -> None:
        with self._fs.open(path, "wb") as file:
            file.write(content)
            if self._local:
                file.flush()
                os.fsync(file.fileno())

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all in it; what is not there is no error."""
        with self._told("removed", name), suppress(FileNotFoundError):
            self._fs.rm(self._at(name), recursive=True)

    def _at(self, name: str) -> str:
        parts = name.split("/")
        if not name or any(part in ("", ".", "..") or "\\" in part for part in parts):
            raise FolderError(f"{name!r} is no name of a file in {self.url}")
        return f"{self._path.rstrip('/')}/{name}"

    @contextmanager
    def _told(self, verb: str, name: str = "") -> Iterator[None]:
        """Turn whatever a filesystem raises, each its own errors, into ours."""
        where = f"{self._shown.rstrip('/')}/{name}" if name else self._shown
        try:
            yield
        except FolderError:
            raise
        except ImportError as error:
            raise FolderError(f"{where} cannot be {verb}: {error}", _package(error)) from error
        except Exception as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            message = f"{where} cannot be {verb}: {_SECRET.sub('', reason)}"
            raise FolderError(message, "look at the path, and at the rights on it") from error


def _package(error: Any) -> str:
    return f"pip install {error.name}" if error.name else "install the package that it names"
