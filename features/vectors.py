"""Content vectors: the cache that spares encoding, and an item's own beside its text's.

A vector lies in Redis under (encoder version, SHA-256 of the normalised text)
as float16, so an unchanged text is never encoded again: not after a restart,
not by another process, not for another item with the same text. What a caller
gets is always what is stored, rounded to float16, whoever encoded it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from features.text import Progress, TextEncoder, text_hash
from stream.keys import Keys
from stream.settings import Settings
from stream.store import DAY_MS, Store
from stream.writes import Plain

__all__ = [
    "Found",
    "VectorCache",
    "VectorStore",
    "from_bytes",
    "item_vectors",
    "query_vectors",
    "to_bytes",
    "unit_rows",
    "with_own_vectors",
]

REMEMBERED: Final = 4096
"""Vectors kept in the process (3 MB), for queries that come again and again."""


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


class VectorStore(Protocol):
    """What the cache needs of :class:`stream.store.Store`."""

    def get_many(self, keys: Sequence[str]) -> list[bytes | None]:
        """Return the values of the keys, None where there is none."""
        ...

    def write_plain(self, plain: Sequence[Plain]) -> None:
        """Write values."""
        ...


class Found(NamedTuple):
    """Vectors ``(n, dim)``, and what is to be written so that they are found again."""

    vectors: NDArray[np.float32]
    writes: list[Plain]


class VectorCache:
    """Vectors of texts: from memory, else from Redis, else encoded.

    Parameters
    ----------
    store
        Where vectors are kept.
    keys
        Builds their keys.
    encoder
        Encodes what is found nowhere.
    ttl_ms
        Life of a vector after it was last written.
    remembered
        How many vectors are kept in the process, latest used.

    Attributes
    ----------
    hits, misses
        Distinct texts of a call that were found, and that had to be encoded.
    """

    def __init__(
        self,
        store: VectorStore,
        keys: Keys,
        encoder: TextEncoder,
        *,
        ttl_ms: int,
        remembered: int = REMEMBERED,
    ) -> None:
        self.encoder = encoder
        self.hits = self.misses = 0
        self._store, self._keys, self._ttl_ms = store, keys, ttl_ms
        self._most = remembered
        self._latest: OrderedDict[str, bytes] = OrderedDict()

    def exchange(self, encoder: TextEncoder) -> None:
        """Have another encoder's vectors from here on."""
        self.encoder = encoder
        self._latest.clear()

    def vectors(
        self, texts: Sequence[str], progress: Progress | None = None
    ) -> NDArray[np.float32]:
        """Return the texts' unit rows ``(n, dim)``, and store at once what is new.

        The row of a blank text is zero.
        """
        found = self.lookup(texts, progress=progress)
        self._store.write_plain(found.writes)
        return found.vectors

    def lookup(
        self, texts: Sequence[str], *, renew: bool = False, progress: Progress | None = None
    ) -> Found:
        """Return the texts' unit rows ``(n, dim)``, and the writes for those that are new.

        Parameters
        ----------
        texts
            Texts; equal ones are looked up and encoded once.
        renew
            Write also those that were found, which prolongs their lives.
        progress
            Told of what is being encoded.

        Raises
        ------
        EncoderError, StoreError
        """
        hashes = [text_hash(text) for text in texts]
        wanted = {mark: text for mark, text in zip(hashes, texts, strict=True) if mark}
        raws = self._stored(list(wanted))
        fresh = [mark for mark in wanted if mark not in raws]
        self.hits += len(raws)
        self.misses += len(fresh)
        self._remember(raws)  # not the new ones: their writes may yet come to nothing
        if fresh:
            encoded = self.encoder.encode([wanted[mark] for mark in fresh], progress)
            raws.update(zip(fresh, map(to_bytes, encoded), strict=True))
        out = np.zeros((len(texts), self.encoder.dim), np.float32)
        for row, mark in enumerate(hashes):
            if mark:
                out[row] = from_bytes(raws[mark])
        written = list(wanted) if renew else fresh
        return Found(unit_rows(out), [Plain(self._key(m), raws[m], self._ttl_ms) for m in written])

    def _key(self, mark: str) -> str:
        return self._keys.vector(self.encoder.version, mark)

    def _stored(self, marks: Sequence[str]) -> dict[str, bytes]:
        raws = {mark: self._latest[mark] for mark in marks if mark in self._latest}
        asked = [mark for mark in marks if mark not in raws]
        values = self._store.get_many([self._key(mark) for mark in asked]) if asked else []
        size = 2 * self.encoder.dim
        # a value of another length was not written by us: encode it anew and write over it
        raws.update((m, v) for m, v in zip(asked, values, strict=True) if v and len(v) == size)
        return raws

    def _remember(self, raws: Mapping[str, bytes]) -> None:
        for mark, raw in raws.items():
            self._latest[mark] = raw
            self._latest.move_to_end(mark)
        while len(self._latest) > self._most:
            self._latest.popitem(last=False)


def item_vectors(settings: Settings, store: Store, encoder: TextEncoder) -> VectorCache:
    """Return the vectors of items' texts, which live as long as cards do."""
    ttl_ms = int(settings.items.ttl_days * DAY_MS)
    return VectorCache(store, store.keys, encoder, ttl_ms=ttl_ms)


def query_vectors(settings: Settings, store: Store, encoder: TextEncoder) -> VectorCache:
    """Return the vectors of queries, which live as long as users' states do."""
    ttl_ms = int(settings.redis.ttl_days * DAY_MS)
    return VectorCache(store, store.keys, encoder, ttl_ms=ttl_ms)
