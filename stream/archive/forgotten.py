"""Who is to be forgotten, and which rows that concerns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.records import TopicPartition

if TYPE_CHECKING:
    from pyarrow import RecordBatch

__all__ = ["ASKED", "Forgotten", "Link", "links_in"]

ASKED: Final = ("offset", "timestamp", "event", "user")
"""The columns that :meth:`Forgotten.dropped` looks at."""

DELETE: Final = "delete"
IDENTIFY: Final = "identify"


class Link(NamedTuple):
    """An `identify` event: this visitor was that user until then."""

    anonymous: str
    time: int
    place: TopicPartition
    offset: int


class Forgotten:
    """Users who are forgotten, with the moment up to which they are.

    The rule is that of a user's state: a row goes if it lies before the
    `delete` event in its partition, or happened at or before its time,
    however late it came. The `delete` event itself stays: it says so to
    whoever comes later.
    """

    def __init__(self) -> None:
        self._until: dict[str, int] = {}
        self._before: dict[TopicPartition, dict[str, int]] = {}

    def add(
        self, user: str, time: int, place: TopicPartition | None = None, offset: int = 0
    ) -> None:
        """Forget what a user did up to ``time``, and in ``place`` before ``offset``."""
        self._until[user] = max(time, self._until.get(user, 0))
        if place is not None:
            before = self._before.setdefault(place, {})
            before[user] = max(offset, before.get(user, 0))

    def __len__(self) -> int:
        return len(self._until)

    def named_in(self, place: TopicPartition) -> dict[str, tuple[int, int]]:
        """Return who is forgotten by an event of this partition: user -> time and offset."""
        before = self._before.get(place, {})
        return {user: (self._until[user], offset) for user, offset in sorted(before.items())}

    def dropped(self, place: TopicPartition, batch: RecordBatch) -> NDArray[np.bool_] | None:
        """Return which rows of a batch go; None where all stay.

        Parameters
        ----------
        place
            The partition that the rows are of.
        batch
            Rows with the columns :data:`ASKED`.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self._until:
            return None
        found = pc.index_in(batch.column("user"), pa.array(list(self._until), pa.string()))
        who: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
        if not (who >= 0).any():
            return None
        before = self._before.get(place, {})
        untils = np.array(list(self._until.values()), np.int64)
        offsets = np.array([before.get(user, 0) for user in self._until], np.int64)
        past = batch.column("timestamp").to_numpy() <= untils[who]
        past |= batch.column("offset").to_numpy() < offsets[who]
        other = pc.not_equal(batch.column("event"), DELETE).to_numpy(zero_copy_only=False)
        gone: NDArray[np.bool_] = (who >= 0) & past & other
        return gone if gone.any() else None


def links_in(forgotten: Forgotten, place: TopicPartition, batch: RecordBatch) -> Iterator[Link]:
    """Yield which visitors turned out to be users who are forgotten: their rows go too.

    The batch has the column ``anonymous`` beside :data:`ASKED`.
    """
    gone = forgotten.dropped(place, batch)
    if gone is None:
        return
    for number in np.flatnonzero(gone).tolist():
        if batch.column("event")[number].as_py() == IDENTIFY:
            yield Link(
                batch.column("anonymous")[number].as_py(),
                batch.column("timestamp")[number].as_py(),
                place,
                batch.column("offset")[number].as_py(),
            )
