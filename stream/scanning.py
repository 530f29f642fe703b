"""Where a name stands in all of Redis and in all files of an archive: the proof of a forgetting."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from stream.archive.files import Files
from stream.archive.table import read_table
from stream.store import Store

__all__ = ["Sought", "in_archive", "in_redis"]

NAMED: Final = ("user", "anonymous", "raw")
NUMBERED: Final = (
    "learner",
    "taught",
    "models",
    "position",
    "replayed",
    "process",
    "lease",
    "vector",
)
"""Kinds of keys that are named by partitions, offsets, processes, hashes: by nobody."""


class Sought:
    """Finds ids that stand as whole names: between quotes, colons, or the ends.

    Examples
    --------
    >>> sought = Sought(["u1"])
    >>> [sought.stands_in(raw) for raw in (b'{"user":"u1"}', b"rillet:1:recs:u1", b'"u10"')]
    [True, True, False]
    """

    def __init__(self, names: Iterable[str]) -> None:
        spelt = {form for name in names for form in _spellings(name)}
        either = b"|".join(re.escape(one) for one in sorted(spelt))
        self._word = re.compile(rb'(?<![^":/])(?:' + either + rb')(?![^":/])')

    def stands_in(self, raw: bytes) -> bool:
        """Tell whether one of the names stands there."""
        return self._word.search(raw) is not None


def _spellings(name: str) -> set[bytes]:
    plain = name.encode("utf-8", "surrogatepass")
    ascii_ = "".join(f"\\u{ord(c):04x}" if 127 < ord(c) < 65536 else c for c in name)
    quoted = msgspec.json.encode(name.encode("utf-8", "replace").decode())[1:-1]
    return {plain, quoted, ascii_.encode("utf-8", "surrogatepass")}


def in_redis(store: Store, sought: Sought) -> Iterator[str]:
    """Yield the keys, of all under the prefix, in whose name or value one of the names stands.

    Raises
    ------
    StoreError
        Redis cannot be reached, or refuses.
    """
    seen: set[str] = set()
    for raw, value in store.everything():
        key = raw.decode("utf-8", "surrogateescape")
        named = sought.stands_in(_name_in(store, key).encode("utf-8", "surrogateescape"))
        if (named or sought.stands_in(b":".join(_leaves(value)))) and key not in seen:
            seen.add(key)
            yield key


def _name_in(store: Store, key: str) -> str:
    """Return the part of a key that may name somebody; what Rillet itself numbers does not."""
    rest = key.removeprefix(f"{store.keys.prefix}:")
    schema, _, tail = rest.partition(":")
    kind, colon, name = tail.partition(":")
    if not schema.isdigit() or not colon:
        return rest
    if kind in NUMBERED:
        return ""
    return name.partition(":")[2] if kind == "open" else name


def _leaves(answer: Any) -> Iterator[bytes]:
    """Yield every text in an answer, however deep it lies."""
    if isinstance(answer, bytes):
        yield answer
    elif isinstance(answer, dict):
        for pair in answer.items():
            yield from _leaves(list(pair))
    elif isinstance(answer, (list, tuple, set)):
        for one in answer:
            yield from _leaves(one)


def in_archive(url: str, sought: Sought) -> Iterator[str]:
    """Yield the files of an archive, those too that do not count, where one of the names stands.

    A file that a crash left half written is named in any case: nobody can read what it holds.

    Raises
    ------
    FolderError
        Its filesystem cannot be reached or refuses.
    """
    files = Files(url)
    for path in sorted(files.below()):
        try:
            half = path.endswith(".tmp")
            if half or any(sought.stands_in(raw) for raw in _texts(files, path)):
                yield path
        except FileNotFoundError:  # compacted away at this moment
            continue


def _texts(files: Files, path: str) -> Iterator[bytes]:
    if not path.endswith(".parquet"):
        yield files.read(path) or b""
        return
    for batch in read_table(files, path, NAMED):
        for name in NAMED:
            for value in batch.column(name).to_pylist():
                if value is not None:
                    yield value if isinstance(value, bytes) else value.encode()
