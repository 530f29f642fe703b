"""Everything that keys hold, whatever their types are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from stream.redis_errors import is_of_another_type

__all__ = ["whole_values"]

_READERS: Final[tuple[tuple[Any, ...], ...]] = (
    ("GET",),
    ("XRANGE", "-", "+"),
    ("HGETALL",),
    ("LRANGE", 0, -1),
    ("SMEMBERS",),
    ("ZRANGE", 0, -1),
)


def whole_values(
    send: Callable[[Sequence[tuple[Any, ...]]], list[Any]], keys: Sequence[bytes]
) -> list[Any]:
    """Return the whole value of each key, None where there is none, errors among them.

    One type is tried after the other: nearly all are strings, and TYPE is a right of its own.

    Parameters
    ----------
    send
        Sends commands in one round trip and returns their answers, errors among them.
    keys
        Which.
    """
    found: list[Any] = [None] * len(keys)
    left = list(range(len(keys)))
    for verb, *rest in _READERS:
        answers = send([(verb, keys[at], *rest) for at in left])
        for at, answer in zip(left, answers, strict=True):
            found[at] = answer
        left = [at for at in left if is_of_another_type(found[at])]
        if not left:
            break
    return found
