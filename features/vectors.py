"""Content vectors: stored bytes, unit length, and an item's own beside its text's."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["from_bytes", "to_bytes", "unit_rows", "with_own_vectors"]


def unit_rows(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return the rows ``(n, dim)`` at length 1 as float32; zero rows stay zero.

    Examples
    --------
    >>> unit_rows(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    rows = vectors.astype(np.float32)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    lengths[lengths == 0] = 1
    return np.asarray(rows / lengths, np.float32)


def to_bytes(vector: NDArray[np.floating]) -> bytes:
    """Return one vector ``(dim,)`` as little-endian float16."""
    return vector.astype("<f2").tobytes()


def from_bytes(raw: bytes) -> NDArray[np.float32]:
    """Read one vector ``(dim,)``; the mirror of :func:`to_bytes` but for rounding."""
    return np.frombuffer(raw, "<f2").astype(np.float32)


def with_own_vectors(
    texts: NDArray[np.float32], own: Sequence[Mapping[str, Sequence[float]]], share: float
) -> NDArray[np.float32]:
    """Lay items' own vectors (images, audio) beside the vectors of their texts.

    An own vector is projected to the text's length by random signs that follow
    from its name alone. Two such projections, or one and a text, are nearly at
    right angles (|cosine| about ``dim ** -0.5``), so a product of two sums is
    nearly the sum of products: text compares with text, image with image.

    Parameters
    ----------
    texts
        Unit rows ``(n, dim)``, zero where there is no text.
    own
        For each row its own vectors by name, of any length.
    share
        Share of the own vectors in the squared length, where there is a text too.

    Returns
    -------
    vectors
        Unit rows ``(n, dim)``, zero where there is neither.
    """
    if share == 0 or not any(own):
        return texts
    out = texts.copy()
    for row, named in enumerate(own):
        if not named:
            continue
        mine = sum(_project(name, tuple(v), texts.shape[1]) for name, v in sorted(named.items()))
        kept = (1 - share) ** 0.5 if texts[row].any() else 0.0
        out[row] = kept * texts[row] + (share / len(named)) ** 0.5 * mine
    return unit_rows(out)


def _project(name: str, vector: tuple[float, ...], dim: int) -> NDArray[np.float32]:
    return np.asarray(vector, np.float32) @ _signs(name, len(vector), dim)


@lru_cache(maxsize=8)
def _signs(name: str, length: int, dim: int) -> NDArray[np.float32]:
    """Return the projection ``(length, dim)``: the same on every machine, for ever."""
    count = length * dim
    bits = np.frombuffer(hashlib.shake_256(name.encode()).digest(-(-count // 8)), np.uint8)
    signs = np.unpackbits(bits)[:count].reshape(length, dim).astype(np.float32)
    return (2 * signs - 1) / np.float32(dim**0.5)
