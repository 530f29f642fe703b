"""Which partition a key belongs to: Kafka's default, murmur2 over the key's bytes.

Producers in Java, Python and ``librdkafka`` (set to ``murmur2_random``) place
a key alike, so the in-process broker and the real one do too.
"""

from __future__ import annotations

from functools import lru_cache
from struct import unpack_from
from typing import Final

__all__ = ["murmur2", "partition_of"]

_SEED: Final = 0x9747B28C
_M: Final = 0x5BD1E995
_MASK: Final = 0xFFFFFFFF


def murmur2(data: bytes) -> int:
    """Return Kafka's 32-bit murmur2 of the bytes, unsigned.

    Examples
    --------
    >>> murmur2(b"21")
    3321034988
    """
    size = len(data)
    h = _SEED ^ size
    for word in unpack_from(f"<{size // 4}I", data):
        k = word * _M & _MASK
        k = (k ^ k >> 24) * _M & _MASK
        h = h * _M & _MASK ^ k
    if size % 4:
        h = (h ^ int.from_bytes(data[size & ~3 :], "little")) * _M & _MASK
    h = (h ^ h >> 13) * _M & _MASK
    return h ^ h >> 15


@lru_cache(maxsize=1 << 17)
def _positive(key: bytes) -> int:
    # Users come back: remembering the hash makes a send in a replay several times cheaper.
    return murmur2(key) & 0x7FFFFFFF


def partition_of(key: str | bytes, partitions: int) -> int:
    """Return the partition of a key, 0 to ``partitions - 1``.

    Examples
    --------
    >>> partition_of("alice", 4) == partition_of(b"alice", 4)
    True
    """
    return _positive(key.encode() if isinstance(key, str) else key) % partitions
