"""Values as the consumers have stored them, and what is said of one that cannot be read."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from stream.errors import RilletError

__all__ = ["stored"]

T = TypeVar("T")


def stored(raw: bytes, decoder: msgspec.json.Decoder[T], what: str) -> T:
    """Return a value that lies in Redis.

    Raises
    ------
    RilletError
        It cannot be read.
    """
    try:
        return decoder.decode(raw)
    except msgspec.MsgspecError as error:
        message = f"{what} in Redis cannot be read: {error}"
        raise RilletError(message, "was it written by another version of Rillet?") from error
