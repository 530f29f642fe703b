"""gorse's feedback, and its answer."""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, StringConstraints

from rillet.serving.models import Id, Text
from stream.limits import MAX_CHARS, MAX_TYPE

__all__ = ["EXAMPLE", "FeedbackIn", "RowAffected"]

FEEDBACK: Final = [
    {"FeedbackType": "star", "UserId": "bob", "ItemId": "ollama:ollama", "Value": 1.0},
    {
        "FeedbackType": "read",
        "UserId": "bob",
        "ItemId": "gorse-io:gorse",
        "Timestamp": "2022-02-24",
    },
]
EXAMPLE: Final[dict[str, Any]] = {
    "requestBody": {"content": {"application/json": {"example": FEEDBACK}}}
}


class FeedbackIn(BaseModel):
    """What a user gave an item; what else it has is passed over."""

    model_config = ConfigDict(strict=True)

    FeedbackType: Annotated[str, StringConstraints(min_length=1, max_length=MAX_TYPE)]
    UserId: Id
    ItemId: Id
    Value: FiniteFloat | None = None
    Timestamp: Text | int | None = Field(None, description="ISO 8601; now where it is left out")
    Comment: Annotated[str, StringConstraints(max_length=MAX_CHARS)] | None = None

    def event(self, now_ms: int) -> bytes:
        """Return it as an interaction, in Rillet's wire format."""
        fields: dict[str, Any] = {
            "event": "interaction",
            "timestamp": self.Timestamp if self.Timestamp not in (None, "") else now_ms,
            "user": self.UserId,
            "type": self.FeedbackType,
            "item": self.ItemId,
        }
        if self.Value is not None:
            fields["value"] = self.Value
        if self.Comment:
            fields["fields"] = [{"name": "comment", "value": self.Comment}]
        return msgspec.json.encode(fields)


class RowAffected(BaseModel):
    """How much feedback was taken."""

    RowAffected: int
