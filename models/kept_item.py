"""An item's statistics as `neighbours` keeps them between batches, ready to be written."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from features.card import AsOf
from features.parts.base import DAY_MS
from models.activity import Activity, ItemRows
from models.item_state import (
    Buckets,
    ItemState,
    buckets_of,
    fold_rows,
    popularity_of,
    strongest,
    unit_of,
)
from stream.settings import NeighboursSettings

__all__ = ["KeptItem"]


class _State(Struct, omit_defaults=True):
    """An :class:`models.item_state.ItemState` of which the longest part is written already."""

    as_of: AsOf
    item: str
    seen: dict[str, int] = {}
    landmark: int = 0
    next: Raw | UnsetType = UNSET
    hours: dict[str, int] = {}
    days: dict[str, int] = {}
    totals: dict[str, int] = {}
    newest: int = 0


class _View(Struct):
    """An :class:`models.item_state.ItemView` of which the longest part is written already."""

    as_of: AsOf
    item: str
    time: int
    next: Raw
    popularity: dict[str, float]
    shown: int
    clicked: int
    taken: int


_PLAIN: Final = msgspec.json.Encoder()
_ORDERED: Final = msgspec.json.Encoder(order="deterministic")
_NOBODY: Final = Raw(b"[]")


class KeptItem:
    """One item's state, and what was last written of what follows it.

    Most batches only show an item: then what follows it, by far the longest part of both
    its records, is as it was, and so are its bytes.

    Parameters
    ----------
    state
        Owned from here on.
    settings
        What is kept and served.
    """

    __slots__ = (
        "_bucketed",
        "_buckets",
        "_half_life",
        "_next",
        "_quarters",
        "_served",
        "_settings",
        "state",
    )

    def __init__(self, state: ItemState, settings: NeighboursSettings) -> None:
        self.state, self._settings = state, settings
        self._next: Raw | UnsetType | None = None
        self._served = Raw()
        self._half_life = int(settings.half_life_days * DAY_MS)
        self._quarters = -1
        self._bucketed = (-1, 0, 0)
        self._buckets: Buckets = ([], [])

    def fold(self, record: Activity, rows: ItemRows) -> None:
        """Add one record's rows on this item: :func:`models.item_state.fold_rows`."""
        fold_rows(self.state, record, rows, self._settings)
        if rows[0]:
            self._next, self._quarters = None, -1

    def encode(self) -> bytes:
        """Return the bytes of :func:`models.item_state.encode_item_state`."""
        state = self.state
        if self._next is None:
            self._next = self._following()
        # By place: naming each costs more than what is named.
        whole = _State(
            state.as_of,
            state.item,
            state.seen,
            state.landmark,
            self._next,
            state.hours,
            state.days,
            state.totals,
            state.newest,
        )
        return _ORDERED.encode(whole)

    def _following(self) -> Raw | UnsetType:
        """Return what follows in order of its names, in which it then stays until a new one comes.

        So what is sorted is nearly so already, which the encoder's own sorting makes no use of.
        """
        following = self.state.next
        if not following:
            return UNSET
        names = sorted(following)
        if names != list(following):
            following = self.state.next = {name: following[name] for name in names}
        return Raw(_PLAIN.encode(following))

    def encode_view(self) -> bytes:
        """Return the bytes of :func:`models.item_state.view`."""
        state = self.state
        # What follows weighs the same to readers until its next quarter of a half-life.
        if (quarters := 4 * state.newest // self._half_life) != self._quarters:
            self._served, self._quarters = self._followers(), quarters
        totals = state.totals
        public = _View(
            state.as_of,
            state.item,
            state.newest,
            self._served,
            popularity_of(self._by_time(), state.newest),
            totals.get("shown", 0),
            totals.get("clicked", 0),
            totals.get("taken", 0),
        )
        return _PLAIN.encode(public)

    def _followers(self) -> Raw:
        """Return the strongest of what follows, as readers get them."""
        state = self.state
        if not state.next:
            return _NOBODY
        unit = unit_of(state, self._settings)
        pairs = strongest(state.next, self._settings.served)
        return Raw(_PLAIN.encode([(item, weight / unit) for item, weight in pairs]))

    def _by_time(self) -> Buckets:
        """Return the positives by hour and day, which change when one is counted or dropped."""
        state = self.state
        of = (state.totals.get("taken", 0), len(state.hours), len(state.days))
        if of != self._bucketed:
            self._bucketed, self._buckets = of, buckets_of(state)
        return self._buckets
