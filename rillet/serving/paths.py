"""Parts of paths and queries that several endpoints have."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from rillet.serving.models import MOST
from stream.limits import MAX_ID

__all__ = ["Count", "Item", "User"]

User = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="the user's id")]
Item = Annotated[str, Path(min_length=1, max_length=MAX_ID, description="the item's id")]
Count = Annotated[int, Query(ge=1, le=MOST, description="how many at the most")]
