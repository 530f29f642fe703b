"""Vectors that all processes of a host have in memory once: a file of half-precision rows.

Rows are found by what is in them and never change, so processes need not agree on anything but
the file: whoever has the same vector is given the same slot, whichever item it is of, and reads
it without a lock. A process keeps four bytes an item beside, its slot. (Keyed by item or text,
rows would have to be written over, and each process would have to follow when.)

What was once put stays until nobody uses the file, or until its users move on to the next
generation. Folder and files are the user's own; whoever uses a file holds a shared ``flock`` on
it, which the kernel takes back however a process ends. The last one to leave removes the file,
and files that nobody uses are removed by the next one to join. Everything but reading is done
under a lock on the folder.

The file::

    0        header
    2^20     64-bit hash of each row
    2^29     open addressing hash tables, each twice as long as the one before; one is in use
    2^30     rows

It has holes: it takes as much memory as was reserved, which is done before anything is written,
for what cannot be had then is an error, and later a ``SIGBUS``.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import re
import stat
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import get_ident
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

__all__ = ["Arena"]

I32 = NDArray[np.int32]
U64 = NDArray[np.uint64]

MAGIC: Final = b"rillet-1"
HEADER: Final = np.dtype([("magic", "S8"), ("dim", "<u8"), ("used", "<u8"), ("bits", "<u8")])
MARKS, TABLES, ROWS = 1 << 20, 1 << 29, 1 << 30
FIRST_BITS, MOST_BITS = 12, 26
FIRST_ROWS: Final = 1024
GROWTH: Final = 8
"""A file grows by one part in so many."""

AT_ONCE: Final = 8192
FILE: Final = re.compile(r"([0-9a-z-]+)\.(\d+)\.vectors")

_LOCKING: Final[set[int]] = set()
"""Threads of this process that hold a folder's lock, or wait for it."""


class Arena:
    """One file of vectors; :meth:`join` opens it.

    Attributes
    ----------
    generation
        Of the file.
    """

    def __init__(self, folder: int, file: int, name: str, generation: int, dim: int) -> None:
        self.generation, self._dim, self._file, self._folder = generation, dim, file, folder
        self._width = -(-dim // 4)  # in words of eight bytes
        entry = _file_of(name, generation)
        self._leave = weakref.finalize(self, _leave, folder, file, entry, os.getpid())
        draw = np.random.default_rng(dim).integers(0, 2**63, self._width, dtype=np.uint64)
        self._multiply = 2 * draw + np.uint64(1)
        self._capacity = 0

    @classmethod
    def join(cls, base: Path, name: str, dim: int, after: int = -1) -> Self:
        """Open the file that others use, else make one.

        Parameters
        ----------
        base
            Where the user's own folder of such files is, or is to be.
        name
            Of what is shared: lower-case letters, digits and dashes.
        dim
            Length of the vectors.
        after
            The generation that is to be left.

        Raises
        ------
        OSError
            It cannot be made, is not the user's own, or there is no room.
        """
        folder = _own_folder(base)
        try:
            with _locked(folder):
                generation = max(after + 1, _tidied(folder, name))
                flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
                file = os.open(_file_of(name, generation), flags, 0o600, dir_fd=folder)
                fcntl.flock(file, fcntl.LOCK_SH)
        except BaseException:
            os.close(folder)
            raise
        arena = cls(folder, file, name, generation, dim)  # from here on it closes both
        try:
            with _locked(folder):
                arena._open()
        except BaseException:
            arena.leave()
            raise
        return arena

    @property
    def used(self) -> int:
        """How many slots there are; slot 0 is that of the vector of zeros."""
        return int(self._header["used"][0])

    @property
    def rows(self) -> NDArray[np.float16]:
        """The vectors in half precision (used or more, dim); slots that were given stay good."""
        return self._words.view(np.float16)[:, : self._dim]

    def leave(self) -> None:
        """Use it no more; arrays that were taken from it can still be read."""
        self._leave()

    def put(self, vectors: NDArray[np.floating[Any]]) -> I32:
        """Return the slots (n,) of vectors (n, dim), giving one to each that has none.

        Raises
        ------
        OSError
            There is no room for more.
        """
        slots = np.zeros(len(vectors), dtype=np.int32)
        for first in range(0, len(vectors), AT_ONCE):
            part = vectors[first : first + AT_ONCE]
            halves = np.zeros((len(part), 4 * self._width), dtype=np.float16)
            halves[:, : self._dim] = part
            words = halves.view(np.uint64)
            marks = _mixed((words * self._multiply).sum(axis=1, dtype=np.uint64))
            with _locked(self._folder):
                slots[first : first + AT_ONCE] = self._put(words, marks)
        return slots

    def _put(self, words: U64, marks: U64) -> I32:
        self._map_rows()
        slots, todo = np.full(len(words), -1, dtype=np.int32), np.arange(len(words))
        while len(todo):
            _, first, which = np.unique(marks[todo], return_index=True, return_inverse=True)
            order = np.argsort(first)  # as they come: who reads them in that order reads on
            some, which = todo[first[order]], np.argsort(order)[which]
            slots[some] = self._put_distinct(words[some], marks[some])
            # of one hash, but other vectors than the first: next time
            same = (words[todo] == words[some][which]).all(axis=1)
            slots[todo[same]] = slots[some][which][same]
            todo = todo[~same]
        return slots

    def _put_distinct(self, words: U64, marks: U64) -> I32:
        slots = self._find(words, marks)
        new = np.flatnonzero(slots < 0)
        if len(new):
            used = self.used
            self._reserve(used + len(new))
            slots[new] = np.arange(used, used + len(new))
            self._words[slots[new]], self._marks[slots[new]] = words[new], marks[new]
            self._header["used"] = used + len(new)
            self._enter(marks[new], slots[new])
        return slots

    def _find(self, words: U64, marks: U64) -> I32:
        table = self._table()
        mask, todo = np.uint64(len(table) - 1), np.arange(len(marks))
        at, slots = marks & mask, np.full(len(marks), -1, dtype=np.int32)
        while len(todo):
            entry = table[at[todo]].astype(np.int64) - 1
            todo, entry = todo[entry >= 0], entry[entry >= 0]
            same = self._marks[entry] == marks[todo]
            same[same] = (self._words[entry[same]] == words[todo[same]]).all(axis=1)
            slots[todo[same]] = entry[same]
            todo = todo[~same]
            at[todo] = (at[todo] + np.uint64(1)) & mask
        return slots

    def _enter(self, marks: U64, slots: I32) -> None:
        """Write slots that are in no table yet into the one in use."""
        table = self._table()
        mask, todo, entry = np.uint64(len(table) - 1), np.arange(len(marks)), slots + 1
        at = marks & mask
        while len(todo):
            free = todo[table[at[todo]] == 0]
            table[at[free]] = entry[free]  # of several for one place the last gets it
            todo = todo[table[at[todo]] != entry[todo]]
            at[todo] = (at[todo] + np.uint64(1)) & mask

    def _table(self) -> NDArray[np.uint32]:
        size = 1 << int(self._header["bits"][0])
        return self._tables[size : 2 * size]

    def _open(self) -> None:
        """Map the file; write its beginning where it is new."""
        if not os.fstat(self._file).st_size:
            os.ftruncate(self._file, ROWS)
        os.posix_fallocate(self._file, 0, mmap.PAGESIZE)
        self._header = self._mapped(0, mmap.PAGESIZE, HEADER)[:1]
        self._marks = self._mapped(MARKS, TABLES - MARKS, np.dtype(np.uint64))
        self._tables = self._mapped(TABLES, ROWS - TABLES, np.dtype(np.uint32))
        if not self._header["magic"][0]:
            self._header["dim"] = self._dim
            self._lengthen(FIRST_BITS)
            self._reserve(1)
            self._header["used"], self._header["magic"] = 1, MAGIC
            self._enter(self._marks[:1], np.zeros(1, np.int32))
        head = self._header[0]
        if head["magic"] != MAGIC or head["dim"] != self._dim:
            raise OSError(errno.EINVAL, "the file of shared vectors is of another layout")
        self._map_rows()

    def _reserve(self, slots: int) -> None:
        """Have room for so many slots.

        Raises
        ------
        OSError
            There is none.
        """
        if slots > 1 << (MOST_BITS - 1):
            raise OSError(errno.EFBIG, "there are more vectors than can be shared")
        bits = int(self._header["bits"][0])
        while slots > 1 << (bits - 1):
            bits += 1
        if slots > self._capacity:
            more = max(slots, self._capacity + self._capacity // GROWTH, FIRST_ROWS)
            os.posix_fallocate(self._file, MARKS, 8 * more)
            os.posix_fallocate(self._file, ROWS, 8 * self._width * more)
            self._map_rows()
        if bits > self._header["bits"][0]:
            self._lengthen(bits)
            used = self.used
            self._enter(self._marks[:used], np.arange(used, dtype=np.int32))

    def _lengthen(self, bits: int) -> None:
        os.posix_fallocate(self._file, TABLES + (4 << bits), 4 << bits)
        self._tables[1 << bits : 2 << bits] = 0  # somebody may have died while he filled it
        self._header["bits"] = bits

    def _map_rows(self) -> None:
        size = os.fstat(self._file).st_size - ROWS
        if (capacity := size // (8 * self._width)) > self._capacity:
            rows = self._mapped(ROWS, size, np.dtype(np.uint64))
            self._words = rows[: capacity * self._width].reshape(capacity, self._width)
            self._capacity = capacity

    def _mapped(self, start: int, size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
        memory = mmap.mmap(self._file, size, offset=start)
        return np.frombuffer(memory, dtype, size // dtype.itemsize)


def _mixed(sums: U64) -> U64:
    """Return hashes whose low bits hang on all bits of the sums."""
    sums ^= sums >> np.uint64(32)
    sums *= np.uint64(0x9E3779B97F4A7C15)
    return sums ^ (sums >> np.uint64(29))


def _file_of(name: str, generation: int) -> str:
    return f"{name}.{generation}.vectors"


def _own_folder(base: Path) -> int:
    """Open the user's folder of such files, which nobody else may enter."""
    path = base / f"rillet-{os.geteuid()}"
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(folder)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(folder)
        raise PermissionError(errno.EPERM, "it is open to others, or another's", str(path))
    return folder


@contextmanager
def _locked(folder: int) -> Iterator[None]:
    thread = get_ident()
    _LOCKING.add(thread)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)
        _LOCKING.discard(thread)


def _tidied(folder: int, name: str) -> int:
    """Remove the files that nobody uses; return the newest generation in use of a name, else 0."""
    generation = 0
    for entry in os.listdir(folder):
        if (found := FILE.fullmatch(entry)) is None:
            continue
        file = os.open(entry, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            if not _removed(folder, file, entry) and found[1] == name:
                generation = max(generation, int(found[2]))
        finally:
            os.close(file)
    return generation


def _removed(folder: int, file: int, entry: str) -> bool:
    """Remove a file unless another process uses it; tell whether it was removed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    # Somebody may have cleared the folder, and another have made a file of that name since.
    with suppress(FileNotFoundError):
        if os.path.samestat(os.stat(entry, dir_fd=folder), os.fstat(file)):
            os.unlink(entry, dir_fd=folder)
    return True


def _leave(folder: int, file: int, entry: str, process: int) -> None:
    try:
        if os.getpid() == process:  # else it is a fork's, whose locks are its parent's
            _let_go(folder, file, entry)
    finally:
        os.close(file)
        os.close(folder)


def _let_go(folder: int, file: int, entry: str) -> None:
    try:
        # What is collected as garbage while its thread holds another's lock would wait for itself:
        # then the next one to join removes the file.
        if get_ident() not in _LOCKING:
            with _locked(folder):
                _removed(folder, file, entry)
    finally:
        fcntl.flock(file, fcntl.LOCK_UN)  # what is still mapped has the file open too
