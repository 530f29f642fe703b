"""What can still be read of a stored value that another version wrote, or nobody meant to write."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import Struct

__all__ = ["salvaged"]

T = TypeVar("T", bound=Struct)


def salvaged(raw: bytes, kind: type[T]) -> tuple[T, list[str]]:
    """Read a struct field by field, with the defaults in place of what cannot be read.

    Parameters
    ----------
    raw
        JSON.
    kind
        The struct; structs in its fields are read field by field too.

    Returns
    -------
    tuple
        The struct, and the paths of what was set aside.

    Raises
    ------
    msgspec.MsgspecError, ValueError
        This is no JSON object, or a field without a default cannot be read.

    Examples
    --------
    >>> class Point(Struct):
    ...     x: int = 0
    ...     y: int = 0
    >>> salvaged(b'{"x": "one", "y": 2}', Point)
    (Point(x=0, y=2), ['x'])
    """
    given = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    values: dict[str, Any] = {}
    lost: list[str] = []
    for field in msgspec.structs.fields(kind):
        if field.encode_name not in given:
            continue  # one without a default is missed below
        part = bytes(given[field.encode_name])
        nested = isinstance(field.type, type) and issubclass(field.type, Struct)
        try:
            if nested and not field.required:
                values[field.name], inner = salvaged(part, field.type)
                lost += [f"{field.name}.{path}" for path in inner]
            else:
                values[field.name] = msgspec.json.decode(part, type=field.type)
        except (msgspec.MsgspecError, ValueError):
            if field.required:
                raise
            lost.append(field.name)
    try:
        return kind(**values), lost
    except TypeError as error:
        raise msgspec.ValidationError(str(error)) from error
