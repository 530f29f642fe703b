"""A folder of many large files: what :class:`stream.folder.Folder` is for few small ones."""

from __future__ import annotations

import os
import posixpath
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from stream.faults import reach
from stream.folder import Folder

__all__ = ["Files"]


class Files(Folder):
    """Lists, reads and writes the files of an archive, wherever they lie.

    Raises
    ------
    FolderError
        From any method: the filesystem is unknown, cannot be reached, or refuses.
    """

    def below(self, under: str = "") -> set[str]:
        """Return the names of all files in it, or in one folder of it; none where it is not there.

        Never half of them: what vanishes meanwhile may be missing, what does not may not.
        """
        with self._told("listed", under):
            self._fs.invalidate_cache()
            top = self._at(under) if under else self._path.rstrip("/")
            head = len(self._path.rstrip("/")) + 1
            return {path[head:] for path in self._walk(top)}

    def _walk(self, top: str) -> Iterator[str]:
        if not self._local:
            with suppress(FileNotFoundError):
                yield from self._fs.find(top)
            return
        # fsspec asks for the size of each file, and leaves a whole folder out where one of
        # them was renamed at that moment.
        for folder, _, names in os.walk(top, onerror=_unless_gone):
            yield from (f"{folder}/{name}" for name in names)

    def read_many(self, names: Sequence[str]) -> list[bytes | None]:
        """Return files' contents, None where there is none; several at once where that is quicker.

        Cloud stores answer slowly and many questions at a time.
        """
        with self._told("read", names[0] if names else ""):
            paths = [self._at(name) for name in names]
            found = self._fs.cat_ranges(paths, None, None) if paths else []
            for one in found:
                if isinstance(one, Exception) and not isinstance(one, FileNotFoundError):
                    raise one
            return [None if isinstance(one, Exception) else bytes(one) for one in found]

    @contextmanager
    def reading(self, name: str) -> Iterator[Any]:
        """Open a file to be read piece by piece.

        Raises
        ------
        FileNotFoundError
            It is not there, or not any more.
        """
        gone = None
        with self._told("read", name):
            try:
                with self._fs.open(self._at(name), "rb") as file:
                    yield file
            except FileNotFoundError as error:
                gone = error
        if gone is not None:
            raise gone

    @contextmanager
    def writing(self, name: str) -> Iterator[Any]:
        """Open a file to be written piece by piece; it appears when the body ends well.

        An object store may show a part of it where the body fails: nothing may
        count on a file before something else says that it is whole.
        """
        path = self._at(name)
        with self._told("written", name):
            if not self._renames:
                with self._fs.open(path, "wb") as file:
                    yield file
                return
            above, base = posixpath.split(path)
            self._fs.makedirs(above, exist_ok=True)
            beside = f"{above}/.{base}.{uuid.uuid4().hex}.tmp"
            try:
                with self._fs.open(beside, "wb") as file:
                    yield file
                    if self._local:
                        file.flush()
                        os.fsync(file.fileno())
                reach("archive-written")
                self._fs.mv(beside, path)
                reach("archive-renamed")
                if self._local:
                    _to_disk(above)
                    _to_disk(posixpath.dirname(above))
            except BaseException:
                with suppress(Exception):
                    self._fs.rm_file(beside)
                raise

    def written_ms(self, name: str) -> int | None:
        """Return when a file was written, in epoch milliseconds; None where nobody knows."""
        with self._told("read", name):
            try:
                return int(self._fs.modified(self._at(name)).timestamp() * 1000)
            except (FileNotFoundError, NotImplementedError):
                return None


def _to_disk(folder: str) -> None:
    """Wait until the names in a folder have reached the disk: what counts on them comes next."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
