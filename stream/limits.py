"""How large the parts of an event may be: what is longer is refused, or cut and counted.

These are constants, not settings: live consumers, a replay, the archive and the
training read one record alike, whenever and wherever they read it. An id that is
too long is refused, since two that were cut could become one; all else is cut.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from stream import metrics

__all__ = [
    "MAX_CHARS",
    "MAX_DEPTH",
    "MAX_FIELDS",
    "MAX_ID",
    "MAX_NAME",
    "MAX_SHOWN",
    "MAX_TYPE",
    "MAX_VALUES",
    "MAX_WORD",
    "cut_fields",
    "cut_list",
    "cut_text",
    "is_too_deep",
]

MAX_ID: Final = 512
"""Characters of a user's, item's, session's, list's or record's id."""

MAX_TYPE: Final = 64
"""Characters of a type of interaction."""

MAX_SHOWN: Final = 1000
"""Items of one shown list; the first ones stay."""

MAX_FIELDS: Final = 64
"""Fields of an event that is no ``item``; the first ones stay."""

MAX_NAME: Final = 64
"""Characters of a field's name; one that is longer is left out."""

MAX_CHARS: Final = 1000
"""Characters of a text in a field, or of a query; the first ones stay."""

MAX_VALUES: Final = 64
"""Values of a list in a field; the first ones stay."""

MAX_WORD: Final = 100
"""Characters of a text in a list; the first ones stay."""

MAX_DEPTH: Final = 32
"""Objects and lists within one another."""

# A text that never ends goes to the end: so every byte is looked at once.
_STRINGS: Final = re.compile(rb'"(?:[^"\\]|\\.?)*(?:"|\Z)', re.DOTALL)
_AS_LISTS: Final = bytes.maketrans(b"{}", b"[]")
_OTHERS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def is_too_deep(raw: bytes) -> bool:
    """Tell whether JSON nests deeper than :data:`MAX_DEPTH`, without reading it.

    Decoders give up somewhere too, but where depends on how much of the stack
    their caller has used: two processes could differ on one record.

    Examples
    --------
    >>> is_too_deep(b'{"a": "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["}')
    False
    >>> is_too_deep(b"[" * 33 + b"]" * 33)
    True
    """
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return False
    return _deep(raw) and _deep(_STRINGS.sub(b"", raw))  # brackets in a text count for nothing


def _deep(raw: bytes) -> bool:
    left = raw.translate(_AS_LISTS, _OTHERS)
    for _ in range(MAX_DEPTH):
        left = left.replace(b"[]", b"")  # the innermost of every nest
        if not left:
            return False
    return True


def cut_list(things: list[Any], most: int, name: str) -> list[Any]:
    """Return the first ones, and count under ``cut.NAME`` if there were more."""
    if len(things) <= most:
        return things
    metrics.count(f"cut.{name}")
    return things[:most]


def cut_text(text: str, name: str, most: int = MAX_CHARS) -> str:
    """Return the first characters of a text, and count under ``cut.NAME`` if there were more."""
    if len(text) <= most:
        return text
    metrics.count(f"cut.{name}")
    return text[:most]


def cut_fields(fields: list[Any]) -> list[Any]:
    """Return the fields within their limits; what was left out or shortened is counted.

    Parameters
    ----------
    fields
        Structs with a ``name`` and a ``value``.
    """
    kept = []
    for field in cut_list(fields, MAX_FIELDS, "fields"):
        if len(field.name) > MAX_NAME:
            metrics.count("cut.fields")
            continue
        value = field.value
        if isinstance(value, str):
            value = cut_text(value, "values")
        elif isinstance(value, list):
            values = cut_list(value, MAX_VALUES, "values")
            value = [
                cut_text(one, "values", MAX_WORD) if isinstance(one, str) else one for one in values
            ]
        same = value is field.value or value == field.value
        kept.append(field if same else msgspec.structs.replace(field, value=value))
    return kept
