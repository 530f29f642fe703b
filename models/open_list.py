"""Shown lists that wait for their clicks, and how they are kept over a restart.

A list that is drawn for learning is scored once, when it is shown, with what was
known then; neither the user's state nor the models can tell later what that was.
So an open list is written to Redis as it is shown, and deleted when it has closed.
Of one that is not drawn no source is asked: it waits to be counted.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from features.card import AsOf
from features.contexts import ItemIndex
from features.shown import ShownBefore
from stream.errors import ModelError

__all__ = ["OpenList", "Scored", "decode_list", "encode_list"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Scored:
    """What was known of the n items of a shown list when it was shown.

    Attributes
    ----------
    x, segment
        (n, F) features, and (n,) segments.
    odds
        (n,) what the blend said of them.
    learn
        Whether the list was drawn for learning; else it is but watched.
    """

    x: F32
    segment: I32
    odds: F64
    learn: bool = True


@dataclass(slots=True)
class OpenList:
    """A shown list that waits for its clicks.

    Attributes
    ----------
    time, offset
        When and where it was shown.
    user
        Who was shown it.
    items, rows
        n item ids, in shown order, and their rows.
    before
        What he was shown before.
    scored
        What was known of them; None where nobody was to know.
    taken
        Ids taken so far.
    """

    time: int
    offset: int
    user: str
    items: list[str]
    rows: I32
    before: ShownBefore
    scored: Scored | None = None
    taken: set[str] = field(default_factory=set)

    @property
    def drawn(self) -> Scored | None:
        """What is learned from; None where the list was not drawn for it."""
        return self.scored if self.scored is not None and self.scored.learn else None


class _Kept(Struct):
    """An open list as JSON; arrays are base64 of their little-endian bytes, rows are ids.

    Where it was not drawn, ``x`` and ``odds`` are empty.
    """

    as_of: AsOf
    user: str
    items: list[str]
    x: bytes
    segment: int
    odds: bytes
    before: list[str]
    positions: bytes
    taken: bytes
    lists: bytes


_DECODER = msgspec.json.Decoder(_Kept)
_ENCODER = msgspec.json.Encoder()


def encode_list(shown: OpenList, partition: int, ids: list[str]) -> bytes:
    """Write an open list.

    Parameters
    ----------
    shown
        The list; what is taken of it is kept by its learner.
    partition
        Of the events topic.
    ids
        Item ids by row.
    """
    before = shown.before
    scored = shown.drawn
    kept = _Kept(
        as_of=AsOf(partition, shown.offset, shown.time),
        user=shown.user,
        items=shown.items,
        x=b"" if scored is None else scored.x.astype("<f4").tobytes(),
        segment=0 if scored is None else int(scored.segment[0]),
        odds=b"" if scored is None else scored.odds.astype("<f8").tobytes(),
        before=[ids[row] for row in before.rows.tolist()],
        positions=before.positions.astype("<i4").tobytes(),
        taken=before.taken.tobytes(),
        lists=before.lists.astype("<i4").tobytes(),
    )
    return _ENCODER.encode(kept)


def decode_list(raw: bytes, index: ItemIndex, width: int) -> OpenList:
    """Read an open list.

    Parameters
    ----------
    raw
        From :func:`encode_list`.
    index
        Gives items their rows, which differ from process to process.
    width
        Features that a list has.

    Raises
    ------
    ModelError
        It is damaged, or was written by a version with other features.
    """
    try:
        kept = _DECODER.decode(raw)
        before = ShownBefore(
            rows=np.array([index.ensure(item) for item in kept.before], dtype=np.int32),
            positions=_array(kept.positions, "<i4", np.int32),
            taken=_array(kept.taken, "?", np.bool_),
            lists=_array(kept.lists, "<i4", np.int32),
        )
        return OpenList(
            time=kept.as_of.event_time,
            offset=kept.as_of.offset,
            user=kept.user,
            items=kept.items,
            rows=np.array([index.ensure(item) for item in kept.items], dtype=np.int32),
            before=before,
            scored=_scored(kept, width) if kept.x or kept.odds else None,
        )
    except (msgspec.MsgspecError, ValueError) as error:
        raise ModelError(f"a shown list that waits for clicks cannot be read: {error}") from error


def _scored(kept: _Kept, width: int) -> Scored:
    n = len(kept.items)
    return Scored(
        x=_array(kept.x, "<f4", np.float32).reshape(n, width),
        segment=np.full(n, kept.segment, dtype=np.int32),
        odds=_array(kept.odds, "<f8", np.float64),
    )


def _array(raw: bytes, stored: str, kind: type[Any]) -> NDArray[Any]:
    return np.frombuffer(raw, dtype=stored).astype(kind)
