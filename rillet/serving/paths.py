"""Parts of paths and queries that several endpoints have; ``{name:id}`` is an id in a path."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Path, Query
from pydantic import BeforeValidator, Field
from starlette.convertors import Convertor, register_url_convertor

from rillet.serving.models import MOST
from stream.limits import MAX_ID

__all__ = ["Count", "Item", "Name", "User"]


class _Id(Convertor[str]):
    """An id in a path, with any characters: Starlette's own would cut a line's end off."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


_INTEGER: Final = re.compile(r"-?[0-9]+(\.0+)?")


def _digits(value: object) -> object:
    """Refuse what Python takes for an integer and JSON Schema does not, such as " 7" or "1_0"."""
    if isinstance(value, str) and not _INTEGER.fullmatch(value):
        raise ValueError("is no integer")
    return value


register_url_convertor("id", _Id())

User = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="the user's id")]
Item = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="the item's id")]
Name = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="a category")]
Count = Annotated[
    Annotated[int, Field(ge=1, le=MOST), BeforeValidator(_digits)],
    Query(description="how many at the most"),
]
