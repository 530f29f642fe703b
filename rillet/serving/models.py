"""What requests and answers look like; FastAPI checks the former by it and documents both."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, FiniteFloat, StringConstraints

from rillet.serving.where import Where
from stream.limits import MAX_CHARS, MAX_ID, MAX_NAME, MAX_SHOWN

__all__ = [
    "MOST",
    "Accepted",
    "Filter",
    "Forgotten",
    "Id",
    "Ids",
    "Price",
    "Problem",
    "Ranked",
    "RankedItems",
    "Ready",
    "RankIn",
    "RecommendIn",
    "Recommended",
    "SessionOut",
    "SimilarItems",
    "Text",
    "Whole",
]

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID)]
Text = Annotated[str, StringConstraints(min_length=0)]
"""Any text; one with constraints is no lone surrogate, which nothing can be sent with."""

Query = Annotated[str, StringConstraints(min_length=1, max_length=MAX_CHARS)]
Ids = Annotated[list[Id], Field(max_length=MAX_SHOWN)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=MAX_NAME)]
Value = Annotated[str, StringConstraints(max_length=MAX_CHARS)] | bool | FiniteFloat


def _whole(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]
"""An integer, also one that is written 5.0, which JSON Schema takes for one."""

MOST: Final = 1000
"""Items in one answer."""


class _In(BaseModel):
    """A request: an unknown name is an error, a number is no text."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Price(_In):
    """A range of prices, both ends included."""

    min: FiniteFloat | None = None
    max: FiniteFloat | None = None


class Filter(_In):
    """Conditions that all hold; an item of which what is asked is not known is left out."""

    category: Query | None = Field(None, description="one of the item's categories")
    price: Price | None = None
    fields: dict[Name, Value] = Field(
        default={}, max_length=16, description="fields of the item that are equal to a value"
    )

    def where(self) -> Where:
        """Return it as the ranker takes it."""
        price = self.price or Price()
        return Where(self.category, price.min, price.max, self.fields)


class RecommendIn(_In):
    """What is wished: a search, a user's list, or what is trending."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"query": "smart watch", "user": "alice", "top_n": 5},
                {"user": "alice", "top_n": 5, "explain": True},
                {"top_n": 10, "filter": {"category": "Rugs", "price": {"max": 100}}},
            ]
        }
    )

    query: Query | None = Field(None, description="what is searched for")
    user: Id | None = Field(None, description="whose taste counts")
    session: Id | None = Field(None, description="the visit; names who is not logged in")
    top_n: Whole = Field(10, ge=1, le=MOST, description="how many items at the most")
    items: Ids | None = Field(None, description="only these may be in the answer")
    exclude: Ids = Field(default=[], description="these may not")
    filter: Filter | None = None
    explain: bool = Field(False, description="say why each item is there")

    def where(self) -> Where | None:
        """Return the conditions as the ranker takes them."""
        return self.filter.where() if self.filter else None


class RankIn(_In):
    """Items to be put in an order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"user": "alice", "items": ["runner", "kilim"], "query": "rug"}]
        }
    )

    user: Id | None = Field(None, description="whose taste counts")
    session: Id | None = Field(None, description="the visit; names who is not logged in")
    query: Query | None = Field(None, description="what they were found by")
    items: Annotated[Ids, Field(min_length=1)]
    explain: bool = Field(False, description="say what speaks for each item")


class Reason(BaseModel):
    """Why an item is there."""

    source: str
    share: float = Field(description="its part of everything that spoke for the item, 0 to 1")
    item: str | None = Field(None, description="the past item it follows from")


class Ranked(BaseModel):
    """An item of an answer; what begins with `parts` is there with `explain` alone."""

    item: str
    score: float = Field(description="the higher, the better; in lists a chance, 0 to 1")
    parts: dict[str, float] | None = Field(
        None, description="what each signal adds to the score, with its `bias`"
    )
    reasons: list[Reason] | None = None
    words: list[str] | None = Field(None, description="the reasons as a person would say them")
    known: bool = Field(
        True, description="false where the catalogue lacks the item, which then stands last"
    )


class RankedItems(BaseModel):
    """Items in their order."""

    items: list[Ranked]


class Recommended(BaseModel):
    """Recommendations, best first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "user": "alice",
                    "origin": "list",
                    "items": [{"item": "runner", "score": 0.6114}],
                    "as_of": {"partition": 1, "offset": 20, "event_time": 1795533317075},
                    "model": "blend-29541",
                    "generated_at": 1795533317210,
                }
            ]
        }
    )

    user: str | None = Field(description="whom it is for; null where it is for everybody")
    origin: Literal["list", "trending", "search", "rank"] = Field(
        description="a user's list, the list for unknown users, a search, or `items` ranked"
    )
    items: list[Ranked]
    as_of: dict[str, int] | None = Field(None, description="the last event a list knows of")
    model: str | None = Field(None, description="what made a list")
    generated_at: int | None = Field(None, description="when, in epoch milliseconds")


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(extra="allow")

    message: str


class Problem(BaseModel):
    """What is wrong (RFC 9457, `application/problem+json`)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Unprocessable Content",
                    "status": 422,
                    "detail": "top_n: Input should be greater than or equal to 1",
                    "kind": "invalid",
                }
            ]
        }
    )

    type: str
    title: str
    status: int
    detail: str
    kind: str = Field(description="in one word, for programs")
    mend: str | None = Field(None, description="what to do about it")
    errors: list[Fault] | None = None


class Accepted(BaseModel):
    """Events that Kafka has; as metarank answers."""

    status: Literal["ok"] = "ok"
    accepted: int = Field(description="how many events it has")
    updated: int = Field(0, description="0: states change when the consumers have read them")
    tookMillis: int = Field(description="milliseconds")


class SimilarItem(BaseModel):
    """An item that follows another one."""

    item: str
    weight: float = Field(description="how strongly, beside the others")


class SimilarItems(BaseModel):
    """What follows an item, strongest first."""

    item: str
    items: list[SimilarItem]


class SessionOut(BaseModel):
    """A user's state; docs/redis.md has all of it."""

    model_config = ConfigDict(extra="allow")

    user: str
    as_of: dict[str, int] = Field(description="the last event it knows of")
    events: int = Field(0, description="how many there were")


class Forgotten(BaseModel):
    """That a user is to be forgotten is stored; the consumers see to it."""

    user: str
    status: Literal["ordered"] = "ordered"


class Ready(BaseModel):
    """Whether the servers behind this one answer."""

    redis: bool
    kafka: bool
    search: bool = Field(description="whether search is loaded; lists are served without it")
