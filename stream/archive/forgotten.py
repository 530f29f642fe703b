"""Who is to be forgotten, and which rows that concerns."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stream.keys import token_of
from stream.records import TopicPartition

if TYPE_CHECKING:
    from pyarrow import RecordBatch

__all__ = ["ASKED", "Forgotten", "Link", "links_in"]

ASKED: Final = ("offset", "timestamp", "event", "user", "anonymous")
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
    whoever comes later. Of who is forgotten by a mark nothing stays, not that
    event nor an `identify` that names him: the mark says so. Users are told
    apart by tokens (:func:`stream.keys.token_of`), so that nobody is named.
    """

    def __init__(self) -> None:
        self._until: dict[str, int] = {}
        self._marked: set[str] = set()
        self._before: dict[TopicPartition, dict[str, int]] = {}

    def add(
        self, user: str, time: int, place: TopicPartition | None = None, offset: int = 0
    ) -> None:
        """Forget what a user did up to ``time``, and in ``place`` before ``offset``."""
        token = token_of(user)
        self._until[token] = max(time, self._until.get(token, 0))
        if place is not None:
            before = self._before.setdefault(place, {})
            before[token] = max(offset, before.get(token, 0))

    def mark(self, user: str, time: int) -> None:
        """Forget what a user did up to ``time``, and that he was forgotten."""
        self.add(user, time)
        self._marked.add(token_of(user))

    def until(self) -> dict[str, int]:
        """Return who is forgotten, by token, and up to when."""
        return dict(self._until)

    def __len__(self) -> int:
        return len(self._until)

    def named_in(self, place: TopicPartition) -> dict[str, tuple[int, int]]:
        """Return who is forgotten by an event of this partition: token -> time and offset."""
        before = self._before.get(place, {})
        return {user: (self._until[user], offset) for user, offset in sorted(before.items())}

    def _among(self, batch: RecordBatch, column: str) -> NDArray[np.int64]:
        """Return who of the forgotten each row names in a column, by number; -1 for others."""
        import pyarrow.compute as pc

        coded = batch.column(column).dictionary_encode()
        number = {token: at for at, token in enumerate(self._until)}
        names = coded.dictionary.to_pylist()
        known = np.array([*(number.get(_token(name), -1) for name in names), -1], np.int64)
        codes = pc.fill_null(coded.indices, len(names))
        who: NDArray[np.int64] = known[codes.to_numpy(zero_copy_only=False)]
        return who

    def dropped(self, place: TopicPartition, batch: RecordBatch) -> NDArray[np.bool_] | None:
        """Return which rows of a batch go; None where all stay.

        Parameters
        ----------
        place
            The partition that the rows are of.
        batch
            Rows with the columns :data:`ASKED`.
        """
        import pyarrow.compute as pc

        if not self._until:
            return None
        who = self._among(batch, "user")
        marked = np.array([token in self._marked for token in self._until])
        named = self._among(batch, "anonymous") if marked.any() else np.full_like(who, -1)
        named = np.where((named >= 0) & marked[named], named, -1)
        if not ((who >= 0) | (named >= 0)).any():
            return None
        before = self._before.get(place, {})
        untils = np.array(list(self._until.values()), np.int64)
        offsets = np.array([before.get(user, 0) for user in self._until], np.int64)
        times = batch.column("timestamp").to_numpy()
        past = (times <= untils[who]) | (batch.column("offset").to_numpy() < offsets[who])
        other = pc.not_equal(batch.column("event"), DELETE).to_numpy(zero_copy_only=False)
        gone: NDArray[np.bool_] = (who >= 0) & past & (other | marked[who])
        gone |= (named >= 0) & (times <= untils[named])
        return gone if gone.any() else None


def links_in(forgotten: Forgotten, place: TopicPartition, batch: RecordBatch) -> Iterator[Link]:
    """Yield which visitors turned out to be users who are forgotten: their rows go too.

    The batch has the columns :data:`ASKED`.
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


@lru_cache(100_000)
def _token(user: str) -> str:
    return token_of(user)
