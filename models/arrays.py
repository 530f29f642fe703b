"""Learned arrays as bytes: what a checkpoint holds of models that are not dictionaries."""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from stream.errors import ModelError

__all__ = ["Arrays", "pack", "pack_names", "reading", "under", "unpack", "unpack_names", "within"]

Arrays = Mapping[str, NDArray[Any]]

DAMAGE: Final = (
    # the archive: what zipfile raises, by what stands in the wrong place
    *(zipfile.BadZipFile, struct.error, EOFError, OSError, RuntimeError),
    # an array's header, which numpy parses as Python; a shape beyond all memory
    *(SyntaxError, tokenize.TokenError, TypeError, AttributeError, LookupError, ValueError),
    *(OverflowError, MemoryError),
)
"""What reading a damaged file may raise."""


def pack(arrays: Arrays) -> bytes:
    """Return arrays as the bytes of an ``.npz`` file; equal arrays give equal bytes."""
    file = io.BytesIO()
    entries: dict[str, Any] = dict(arrays)
    np.savez(file, **entries)
    return file.getvalue()


def unpack(raw: bytes) -> dict[str, NDArray[Any]]:
    """Read :func:`pack`; nothing is unpickled.

    Raises
    ------
    ValueError
        The bytes are no such file, or hold a number that is not finite.

    Examples
    --------
    >>> unpack(pack({"w": np.arange(3)}))["w"]
    array([0, 1, 2])
    """
    try:
        with np.load(io.BytesIO(raw), allow_pickle=False) as file:
            # pack compresses nothing, and each decompressor has errors of its own
            if any(entry.compress_type for entry in file.zip.infolist()):
                raise ValueError("it is compressed")
            arrays = {name: file[name] for name in file.files}
    except DAMAGE as error:
        raise ValueError("not an .npz file") from error
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"{name} has a number that is not finite")
    return arrays


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Name the checkpoint that is read within, should it be damaged.

    Raises
    ------
    ModelError
        :func:`unpack` refuses it, or something is missing in it or does not fit.

    Examples
    --------
    >>> with reading("the checkpoint of the sources"):
    ...     unpack(b"")
    Traceback (most recent call last):
    ...
    stream.errors.ModelError: the checkpoint of the sources cannot be read: not an .npz file
    """
    try:
        yield
    except (ValueError, KeyError, IndexError) as error:
        raise ModelError(
            f"{what} cannot be read: {error}",
            "it is damaged, or of another version or encoder; what it held is learned anew",
        ) from error


def pack_names(names: Sequence[Any]) -> NDArray[np.uint8]:
    """Return names as an array: the bytes of their JSON, which has no fixed width."""
    return np.frombuffer(msgspec.json.encode(names), dtype=np.uint8)


def unpack_names(array: NDArray[np.uint8]) -> list[Any]:
    """Read :func:`pack_names`.

    Examples
    --------
    >>> unpack_names(pack_names(["a", "bcd"]))
    ['a', 'bcd']
    """
    names: list[Any] = msgspec.json.decode(array.tobytes(), type=list)
    return names


def under(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return arrays with a prefix before their names."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def within(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Return the arrays whose names begin with a prefix, without it."""
    start = f"{prefix}."
    return {k.removeprefix(start): v for k, v in arrays.items() if k.startswith(start)}
