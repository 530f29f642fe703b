"""Where a catalogue's content vectors lie: in its own memory, or in that of all on the host."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from features.arena import Arena
from features.columns import Column

__all__ = ["Content", "OwnContent", "SharedContent", "Vectors"]

log = logging.getLogger(__name__)

F16 = NDArray[np.float16]
F32 = NDArray[np.float32]
I64 = NDArray[np.int64]

SPARE: Final = 65_536
"""Vectors of before that may lie about in shared memory: 50 MB."""

AT_ONCE: Final = 16_384


class Vectors(Protocol):
    """Vectors (n, dim) to be read: an array, or :class:`Halves`, which makes one of a part."""

    def __len__(self) -> int:
        """Return n."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Return n and dim."""
        ...

    def __getitem__(self, rows: Any, /) -> F32:
        """Return some of them, by what picks rows of an array."""
        ...

    def __array__(self) -> F32:
        """Return all of them."""
        ...

    def copy(self) -> F32:
        """Return all of them, to be changed."""
        ...


class Halves:
    """Rows kept in half precision, given in single.

    Parameters
    ----------
    halves
        (s, dim) the vectors.
    slots
        (n,) where among them each row is; None for the same place.
    """

    def __init__(self, halves: F16, slots: NDArray[np.int32] | None = None) -> None:
        self._halves, self._slots = halves, slots

    def __len__(self) -> int:
        """Return n."""
        return len(self._halves if self._slots is None else self._slots)

    @property
    def shape(self) -> tuple[int, ...]:
        """Return n and dim."""
        return (len(self), self._halves.shape[1])

    def __getitem__(self, rows: Any, /) -> F32:
        """Return some of them, by what picks rows of an array."""
        places = rows if self._slots is None else self._slots[rows]
        return np.asarray(self._halves[places], dtype=np.float32)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> F32:
        """Return all of them."""
        return np.asarray(self.copy(), dtype)

    def copy(self) -> F32:
        """Return all of them, to be changed."""
        whole = np.empty(self.shape, dtype=np.float32)
        for first in range(0, len(self), AT_ONCE):  # all in halves are not made beside
            whole[first : first + AT_ONCE] = self[first : first + AT_ONCE]
        return whole


class Content(Protocol):
    """Holds one vector for each row of a catalogue."""

    @property
    def rows(self) -> Vectors:
        """All of them, zero where none was put; to be taken anew after any change."""
        ...

    def grow(self, size: int) -> None:
        """Be ``size`` rows long at least."""
        ...

    def put(self, rows: I64, vectors: F32) -> None:
        """Write distinct rows."""
        ...

    def clear(self, encoder: str) -> None:
        """Make all rows zero, for vectors of another encoder."""
        ...

    def tidy(self, described: int) -> None:
        """Free what is of no use, with so many rows that are not zero; slow now and then."""
        ...


class OwnContent:
    """Single precision in the process' own memory."""

    def __init__(self, dim: int) -> None:
        self._column = Column(np.float32, fill=0, width=dim)

    @property
    def rows(self) -> F32:
        """All of them, as an array."""
        return self._column.rows

    def grow(self, size: int) -> None:
        """Be ``size`` rows long at least."""
        self._column.grow(size)

    def put(self, rows: I64, vectors: F32) -> None:
        """Write distinct rows."""
        self._column.rows[rows] = vectors

    def clear(self, encoder: str) -> None:  # noqa: ARG002 - it is one of its kind
        """Make all rows zero."""
        self._column.rows[:] = 0

    def tidy(self, described: int) -> None:
        """Do nothing: there is nothing of before."""


class SharedContent:
    """Half precision, in a file that the processes of a host share; without one, in its own memory.

    What can be shared no longer, for want of room say, is told once and goes on in the
    process' own memory, until there is another encoder.

    Parameters
    ----------
    folder
        Where such files are, best one in memory.
    shop
        Names the shop among those on this host.
    dim
        Length of the vectors.
    encoder
        Version of the text encoder.
    """

    def __init__(self, folder: Path, shop: str, dim: int, encoder: str) -> None:
        self._folder, self._shop, self._dim, self._encoder = folder, shop, dim, encoder
        self._slots = Column(np.int32, fill=0)
        self._own: Column[np.float16] | None = None
        self._bearable = 0
        self._arena = self._joined()

    @property
    def shared(self) -> bool:
        """Whether others read the same memory."""
        return self._arena is not None

    @property
    def rows(self) -> Vectors:
        """All of them, in single precision where they are looked at."""
        if self._arena is not None:
            return Halves(self._arena.rows, self._slots.rows)
        assert self._own is not None, "they lie in one of the two"
        return Halves(self._own.rows)

    def grow(self, size: int) -> None:
        """Be ``size`` rows long at least."""
        self._slots.grow(size)
        if self._own is not None:
            self._own.grow(size)

    def put(self, rows: I64, vectors: F32) -> None:
        """Write distinct rows."""
        if self._arena is not None:
            try:
                self._slots.rows[rows] = self._arena.put(vectors)
                return
            except OSError as error:
                self._part(error)
        assert self._own is not None, "they lie in one of the two"
        self._own.rows[rows] = vectors

    def clear(self, encoder: str) -> None:
        """Make all rows zero, for vectors of another encoder: they are shared in another file."""
        self._encoder, self._own, self._bearable = encoder, None, 0
        if self._arena is not None:
            self._arena.leave()
        self._slots.rows[:] = 0
        self._arena = self._joined()

    def tidy(self, described: int) -> None:
        """Move to the next file where most of this one is vectors of before.

        Where that fails, for want of room say, it is tried again when there are many more.
        """
        arena = self._arena
        if arena is None or arena.used <= max(2 * described + SPARE, self._bearable):
            return
        try:
            following = self._join(arena.generation)
            slots = np.zeros_like(self._slots.rows)
            for first in range(0, len(slots), AT_ONCE):
                some = self._slots.rows[first : first + AT_ONCE]
                slots[first : first + AT_ONCE] = following.put(arena.rows[some])
        except OSError as error:
            log.warning("shared vectors cannot be tidied: %s", error)
            self._bearable = arena.used + SPARE
            return
        self._slots.rows[:], self._arena, self._bearable = slots, following, 0
        arena.leave()

    def _join(self, after: int = -1) -> Arena:
        mark = "\0".join([self._shop, self._encoder, str(self._dim)])
        name = hashlib.sha256(mark.encode()).hexdigest()[:24]
        return Arena.join(self._folder, name, self._dim, after)

    def _joined(self) -> Arena | None:
        try:
            return self._join()
        except OSError as error:
            self._alone(error)
            self._own = Column(np.float16, fill=0, width=self._dim)
            self._own.grow(len(self._slots.rows))
            return None

    def _part(self, error: OSError) -> None:
        """Go on alone, with what was shared so far."""
        self._alone(error)
        arena, self._arena = self._arena, None
        assert arena is not None, "nothing else raises it"
        self._own = Column(np.float16, fill=0, width=self._dim)
        self._own.grow(len(self._slots.rows))
        for first in range(0, len(self._slots.rows), AT_ONCE):
            some = self._slots.rows[first : first + AT_ONCE]
            self._own.rows[first : first + AT_ONCE] = arena.rows[some]
        arena.leave()

    def _alone(self, error: OSError) -> None:
        log.warning(
            "items' vectors are not shared with other processes, each keeps %d bytes an item:"
            " %s: %s; items.vectors_dir says where they are shared",
            *(2 * self._dim, self._folder, error),
        )
