"""metarank's requests and answers."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from rillet.serving.models import MOST, Id, Ids, Text, Whole
from rillet.serving.ranking import Asked
from stream.limits import MAX_CHARS, MAX_SHOWN

__all__ = ["EXAMPLE", "MetarankItems", "RankingIn", "SeedsIn"]

EXAMPLE: Final[dict[str, Any]] = {
    "id": "id1",
    "timestamp": "1599391467000",
    "user": "user1",
    "session": "session1",
    "fields": [{"name": "query", "value": "cat"}],
    "items": [
        {"id": "item3", "fields": [{"name": "relevancy", "value": 2.0}]},
        {"id": "item1", "fields": [{"name": "relevancy", "value": 1.0}]},
    ],
}


class _In(BaseModel):
    model_config = ConfigDict(strict=True)


class FieldIn(_In):
    """A named value of a list or of an item."""

    name: Text
    value: bool | FiniteFloat | Text | list[Text] | list[FiniteFloat] | None = None


class ShownIn(_In):
    """An item of the list."""

    id: Id
    fields: list[FieldIn] = []


class RankingIn(_In):
    """A ranking event; what else it has is passed over."""

    model_config = ConfigDict(strict=True, json_schema_extra={"examples": [EXAMPLE]})

    id: Annotated[str, Field(max_length=512)] | None = None
    timestamp: Text | int | None = Field(None, description="epoch milliseconds or ISO 8601")
    user: Id | None = None
    session: Id | None = None
    fields: list[FieldIn] = []
    items: Annotated[list[ShownIn], Field(min_length=1, max_length=MAX_SHOWN)]

    def asked(self, explain: bool) -> Asked:
        """Return it as the ranker takes it."""
        queries = (one.value for one in self.fields if one.name == "query")
        query = next((one for one in queries if isinstance(one, str)), "")
        items = [one.id for one in self.items]
        return Asked(items, self.user, self.session, query[:MAX_CHARS], explain)


class SeedsIn(_In):
    """What is to be recommended; what else it has is passed over."""

    model_config = ConfigDict(
        strict=True,
        json_schema_extra={"examples": [{"count": 10, "user": "alice", "items": ["runner"]}]},
    )

    count: Whole = Field(10, ge=1, le=MOST, description="how many items at the most")
    user: Id | None = Field(None, description="whose list it is where there are no `items`")
    items: Ids = Field(default=[], description="what was taken; others that follow it are found")


class FeatureOut(BaseModel):
    """What a feature adds to the score of an item."""

    name: str
    value: float


class ItemOut(BaseModel):
    """An item in its place."""

    item: str
    score: float
    features: list[FeatureOut] | None = Field(None, description="there with `explain` alone")


class MetarankItems(BaseModel):
    """Items in their order."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"took": 5, "items": [{"item": "item2", "score": 2.0}]}]}
    )

    took: int = Field(description="milliseconds")
    items: list[ItemOut]
