"""Lists as they lie in Redis, cut and passed on."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Final

import msgspec
from msgspec import Raw, Struct

from rillet.serving.stored import stored

__all__ = ["Brief", "Kept", "Recommended", "brief", "chosen", "kept", "plain", "recommended"]


class Brief(Struct, gc=False):
    """An item of a list without its reasons."""

    item: str
    score: float


class Kept(Struct, gc=False):
    """A list of Redis, its items not read yet.

    Attributes
    ----------
    user
        Whose it is; a pseudonym where ``privacy.key`` is set.
    items
        JSON of a list of :class:`models.answer.Listed`.
    """

    user: str
    as_of: Raw
    items: Raw
    model: str
    generated_at: int


class Recommended(Struct, omit_defaults=True, gc=False):
    """The answer of ``POST /recommend``.

    Attributes
    ----------
    user
        Whom it is for, None where nobody was named.
    origin
        ``list``, ``trending``, ``search`` or ``rank``: what made it.
    items
        Best first.
    as_of, model, generated_at
        Of a list that lay in Redis: what it takes into account, what made it, and when.
    """

    user: str | None
    origin: str
    items: Sequence[Struct]
    as_of: Raw | None = None
    model: str | None = None
    generated_at: int | None = None


_KEPT: Final = msgspec.json.Decoder(Kept)
_ITEMS: Final = msgspec.json.Decoder(list[Raw])
_BRIEF: Final = msgspec.json.Decoder(Brief)
_BRIEFS: Final = msgspec.json.Decoder(list[Brief])
_ENCODER: Final = msgspec.json.Encoder()


def kept(raw: bytes) -> Kept:
    """Return a list that lies in Redis.

    Raises
    ------
    RilletError
        It cannot be read.
    """
    return stored(raw, _KEPT, "the list")


def brief(found: Kept) -> list[Brief]:
    """Return its items without reasons."""
    return _BRIEFS.decode(found.items)


def chosen(found: Kept, n: int, among: Container[str] | None = None) -> list[Raw]:
    """Return the first n items of a list, JSON of each.

    Parameters
    ----------
    found
        The list.
    n
        How many items of it at the most.
    among
        Ids of the items that may be in the answer; None for all.
    """
    raws = _ITEMS.decode(found.items)
    if among is not None:
        raws = [raw for raw in raws if _BRIEF.decode(raw).item in among]
    return raws[:n]


def plain(raws: Sequence[Raw]) -> list[Brief]:
    """Return items without their reasons."""
    return [_BRIEF.decode(raw) for raw in raws]


def recommended(found: Kept, user: str | None, items: Sequence[Struct]) -> bytes:
    """Return the answer that a list is, as JSON.

    Parameters
    ----------
    found
        The list.
    user
        Whom it is for; None makes it one that is for everybody.
    items
        Those of its items that are shown.
    """
    origin = "list" if user is not None else "trending"
    return _ENCODER.encode(
        Recommended(user, origin, items, found.as_of, found.model, found.generated_at)
    )
