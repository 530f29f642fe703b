"""A memory of bounded size that several threads share."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import Generic, TypeVar

__all__ = ["Recent"]

T = TypeVar("T")


class Recent(Generic[T]):
    """Values by name, those that were used last.

    Parameters
    ----------
    most
        How many are kept.

    Examples
    --------
    >>> memory = Recent(2)
    >>> memory.put({"a": 1, "b": 2})
    >>> memory.find(["a", "x"])
    {'a': 1}
    >>> memory.put({"c": 3})
    >>> memory.find(["a", "b", "c"])
    {'a': 1, 'c': 3}
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._values: OrderedDict[str, T] = OrderedDict()
        self._lock = Lock()

    def find(self, names: Iterable[str]) -> dict[str, T]:
        """Return the values of those names that are kept."""
        with self._lock:
            found = {name: self._values[name] for name in names if name in self._values}
            for name in found:
                self._values.move_to_end(name)
        return found

    def put(self, values: Mapping[str, T]) -> None:
        """Keep values, and let go of those that were not used for longest."""
        with self._lock:
            self._values.update(values)
            while len(self._values) > self._most:
                self._values.popitem(last=False)

    def drop(self, names: Iterable[str]) -> None:
        """Let go of values."""
        with self._lock:
            for name in names:
                self._values.pop(name, None)
