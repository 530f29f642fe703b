"""The list as it is written to Redis."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from features.card import AsOf

__all__ = ["Answer", "Listed", "Reason", "decode_answer", "encode_answer"]


class Reason(Struct, frozen=True, omit_defaults=True, gc=False):
    """Why an item is in the list.

    Attributes
    ----------
    source
        The candidate source or feature that spoke for it.
    share
        Its part of everything that spoke for the item, 0 to 1.
    item
        The item of the user's history that it follows from, if it follows from one.
    """

    source: str
    share: float
    item: str | None = None


class Listed(Struct, frozen=True, omit_defaults=True, gc=False):
    """One recommended item.

    Attributes
    ----------
    item, score
        Which, and the chance that he takes this one next, 0 to 1.
    reasons
        The strongest first; none beyond the first ``recommend.explained`` places.
    """

    item: str
    score: float
    reasons: list[Reason] = []


class Answer(Struct, frozen=True, gc=False):
    """A user's recommendations; ``as_of`` comes first, which stamped writes rely on.

    Attributes
    ----------
    as_of
        The last event they take into account.
    user
        Whose they are.
    items
        Best first.
    model
        Version of the blend: how many examples it has learned from.
    sources
        Names of the sources that had something to say.
    generated_at
        Epoch milliseconds (of the event's clock in a replay).
    """

    as_of: AsOf
    user: str
    items: list[Listed]
    model: str
    sources: list[str]
    generated_at: int


_DECODER = msgspec.json.Decoder(Answer)
_ENCODER = msgspec.json.Encoder()


def encode_answer(answer: Answer) -> bytes:
    """Write recommendations as JSON."""
    return _ENCODER.encode(answer)


def decode_answer(raw: bytes) -> Answer:
    """Read recommendations; raises msgspec.ValidationError where they are none."""
    return _DECODER.decode(raw)
