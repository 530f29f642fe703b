"""States that an import works on: read once, held while there is room, written when put away."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final, Generic, TypeVar

from stream.store import Store
from stream.writes import Plain

__all__ = ["Held"]

AT_ONCE: Final = 1000
"""States that are written at once."""

T = TypeVar("T")


class Held(Generic[T]):
    """A write-back cache of states by name, for who is alone with a Redis.

    Parameters
    ----------
    store
        Where states are written to.
    read
        Returns the states of these names, empty ones where nothing is known.
    written
        Returns what is to be written of a state.

    Attributes
    ----------
    held
        The loaded states; those that were loaded last come last.
    """

    def __init__(
        self,
        store: Store,
        read: Callable[[Sequence[str]], Sequence[T]],
        written: Callable[[T], Iterable[Plain]],
    ) -> None:
        self._store, self._read, self._written = store, read, written
        self.held: dict[str, T] = {}
        self._changed: set[str] = set()

    def load(self, names: Iterable[str]) -> None:
        """Read the states that are not held; these are the last to be put away."""
        held = self.held
        wanted = list(dict.fromkeys(names))
        missing = [name for name in wanted if name not in held]
        held.update(zip(missing, self._read(missing), strict=True))
        for name in wanted:
            held[name] = held.pop(name)

    def change(self, names: Iterable[str]) -> None:
        """Note that loaded states are not in Redis as they are here."""
        self._changed.update(names)

    def some(self, most: int) -> list[T]:
        """Return at most so many states, evenly from those of long ago to those of now."""
        return list(islice(self.held.values(), 0, None, max(1, -(-len(self.held) // most))))

    def trim(self, most: int) -> None:
        """Put away, longest away first, what is more than so many."""
        while (more := len(self.held) - most) > 0:
            names = list(islice(self.held, min(more, AT_ONCE)))
            states = [(name, self.held.pop(name)) for name in names]
            plain = [self._written(state) for name, state in states if name in self._changed]
            self._store.write_plain([one for several in plain for one in several])
            self._changed.difference_update(names)
