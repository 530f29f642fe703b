"""What `personalize` tells `neighbours`: which item followed which, what was shown and taken.

One record holds a micro-batch's rows for one partition of the transitions
topic, in columns; rows carry the offset of the event they come from, so that
a row that is told twice is counted once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from features.parts.base import Moment
from features.session import Session
from stream.events import Event, Interaction, Ranking
from stream.partition import partition_of
from stream.records import Outgoing
from stream.settings import NeighboursSettings

__all__ = ["Activity", "ActivityWriter", "ItemRows", "decode_activity", "rows_by_item"]

UNIT: Final = 64
"""Weights travel as whole 64ths."""

ItemRows = tuple[Sequence[int], Sequence[int]]
"""The follow rows and the count rows of one item."""

_NONE: Final = ()


class Activity(Struct, omit_defaults=True):
    """Rows for the items of one partition of the transitions topic.

    Attributes
    ----------
    source
        Partition of the events topic that the offsets refer to.
    items
        Ids; the other columns hold indices into it.
    followed, follower, weight, follow_time, follow_offset
        Follower came after followed, weighing so many 64ths, at this time.
    counted, name, count, count_time, count_offset
        An item's ``shown``, ``taken`` (positives) or ``clicked`` (positives on a
        shown list) grew by so much.
    """

    source: int
    items: list[str] = []
    followed: list[int] = []
    follower: list[int] = []
    weight: list[int] = []
    follow_time: list[int] = []
    follow_offset: list[int] = []
    counted: list[int] = []
    name: list[str] = []
    count: list[int] = []
    count_time: list[int] = []
    count_offset: list[int] = []


_DECODER: Final = msgspec.json.Decoder(Activity)
_ENCODER: Final = msgspec.json.Encoder()


def decode_activity(raw: bytes) -> Activity:
    """Read one record of the transitions topic.

    Raises
    ------
    msgspec.ValidationError
        The bytes were not written by :class:`ActivityWriter`.
    """
    return _DECODER.decode(raw)


class _Columns:
    """An Activity being filled, row by row, with the index of its ids.

    Rows lie end to end in one list, which costs a fifth of appending to each column.
    """

    __slots__ = ("counts", "follows", "index", "source")

    def __init__(self, source: int) -> None:
        self.source = source
        self.index: dict[str, int] = {}
        self.follows: list[int] = []  # followed, follower, weight, time, offset
        self.counts: list[Any] = []  # counted, name, time, offset

    def whole(self) -> Activity:
        follows, counts = self.follows, self.counts
        return Activity(
            self.source,
            list(self.index),
            followed=follows[0::5],
            follower=follows[1::5],
            weight=follows[2::5],
            follow_time=follows[3::5],
            follow_offset=follows[4::5],
            counted=counts[0::4],
            name=counts[1::4],
            count=[1] * (len(counts) // 4),
            count_time=counts[2::4],
            count_offset=counts[3::4],
        )


_Place = tuple[_Columns, int]
"""The columns that hold an item's rows, and its number there."""


class ActivityWriter:
    """Collects a micro-batch's rows and cuts them into records by item.

    Parameters
    ----------
    settings
        Window and decay of the transitions.
    topic, partitions
        Where the records go; an item's rows all go to its partition.
    """

    def __init__(self, settings: NeighboursSettings, topic: str, partitions: int) -> None:
        self._settings = settings
        self._topic = topic
        self._partitions = partitions
        self._columns: dict[tuple[int, int], _Columns] = {}
        self._places: dict[int, dict[str, _Place]] = {}

    def _placed(self, source: int, item: str, places: dict[str, _Place]) -> _Place:
        """Return where the rows of an item go that has none yet, and remember it."""
        home = partition_of(item, self._partitions)
        columns = self._columns.get((source, home))
        if columns is None:
            columns = self._columns[source, home] = _Columns(source)
        place = places[item] = columns, columns.index.setdefault(item, len(columns.index))
        return place

    def add(self, before: Session, event: Event, moment: Moment, place: tuple[int, int]) -> None:
        """Tell of one event, given the user's state *before* it was folded in."""
        source, offset = place
        places = self._places.get(source)
        if places is None:
            places = self._places[source] = {}
        time = moment.time
        if isinstance(event, Ranking):
            for shown in event.items:
                name = shown.id
                columns, item = places.get(name) or self._placed(source, name, places)
                columns.counts += (item, "shown", time, offset)
        elif isinstance(event, Interaction) and moment.sign > 0:
            follower = event.item
            columns, item = places.get(follower) or self._placed(source, follower, places)
            columns.counts += (item, "taken", time, offset)
            if event.ranking is not None:
                columns.counts += (item, "clicked", time, offset)
            for past, share in self._preceding(before, follower, moment.visit):
                if weight := round(UNIT * moment.weight * share):
                    columns, item = places.get(past) or self._placed(source, past, places)
                    index = columns.index
                    number = index.setdefault(follower, len(index))
                    columns.follows += (item, number, weight, time, offset)

    def _preceding(self, before: Session, item: str, visit: int) -> list[tuple[str, float]]:
        """Return the last distinct items of this visit, latest first, with their shares."""
        found: dict[str, float] = {}
        share, window, decay = 1.0, self._settings.window, self._settings.decay
        history = before.history
        for past, its_visit in zip(reversed(history.items), reversed(history.visits), strict=True):
            if its_visit != visit or len(found) >= window:
                break
            if past != item and past not in found:
                found[past] = share
                share *= decay
        return list(found.items())

    def take(self) -> list[tuple[int, Activity]]:
        """Return what was collected since the last call, by partition, and start anew."""
        taken = [(home, columns.whole()) for (_, home), columns in sorted(self._columns.items())]
        self._columns, self._places = {}, {}
        return taken

    def drain(self) -> list[Outgoing]:
        """Return the records of what was collected since the last call, and start anew."""
        return [
            Outgoing(self._topic, _ENCODER.encode(record), partition=home)
            for home, record in self.take()
        ]


def rows_by_item(record: Activity) -> dict[str, ItemRows]:
    """Return for each item of a record the rows (follow rows, count rows) that concern it."""
    items = record.items
    follows, counts = _places(record.followed), _places(record.counted)
    found = {items[item]: (rows, counts.pop(item, _NONE)) for item, rows in follows.items()}
    found.update((items[item], (_NONE, rows)) for item, rows in counts.items())
    return found


def _places(column: Sequence[int]) -> dict[int, Sequence[int]]:
    """Return where each value stands in a column, in order of first mention."""
    found: dict[int, list[int]] = {}
    for place, value in enumerate(column):
        places = found.get(value)
        if places is None:
            found[value] = [place]
        else:
            places.append(place)
    return cast(dict[int, Sequence[int]], found)
