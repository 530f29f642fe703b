"""A folder that one process at a time works in, as the operating system sees to it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Final

from stream.errors import SettingsError

__all__ = ["FolderLock"]

NAME: Final = "engine.lock"


class FolderLock:
    """Holds a folder until it is closed, or the process ends, however it ends.

    Parameters
    ----------
    folder
        Which; it is there.

    Raises
    ------
    SettingsError
        Another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(self._file, 32, 0).decode("ascii", "replace").strip()
            os.close(self._file)
            raise SettingsError(
                f"another engine (process {holder or 'unknown'}) works on {folder}",
                "ask that one over HTTP, end it, or name another folder",
            ) from error
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode("ascii"), 0)

    def close(self) -> None:
        """Let go of it."""
        os.close(self._file)
