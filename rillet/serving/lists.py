"""Lists as they lie in Redis, cut and passed on as they are: reasons are not read to be written."""

from __future__ import annotations

from collections.abc import Container
from typing import Final

import msgspec
from msgspec import Raw, Struct

from rillet.serving.stored import stored

__all__ = ["Brief", "Kept", "Recommended", "brief", "kept", "recommended"]


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
        Best first; JSON of each.
    as_of, model, generated_at
        Of a list that lay in Redis: what it takes into account, what made it, and when.
    """

    user: str | None
    origin: str
    items: list[Raw] | list[Brief]
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


def recommended(
    found: Kept,
    user: str | None,
    n: int,
    *,
    explain: bool,
    among: Container[str] | None = None,
) -> bytes:
    """Return the answer that a list is, as JSON.

    Parameters
    ----------
    found
        The list.
    user
        Whom it is for; None makes it one that is for everybody.
    n
        How many items of it at the most.
    explain
        Whether reasons are passed on.
    among
        Ids of the items that may be in the answer; None for all.
    """
    raws = _ITEMS.decode(found.items)
    if among is not None:
        raws = [raw for raw in raws if _BRIEF.decode(raw).item in among]
    shown = raws[:n]
    items = shown if explain else [_BRIEF.decode(raw) for raw in shown]
    origin = "list" if user is not None else "trending"
    return _ENCODER.encode(
        Recommended(user, origin, items, found.as_of, found.model, found.generated_at)
    )
