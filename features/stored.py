"""A user's state as it lies in Redis: the same facts in less room than they take in memory.

Types are named once, times are the milliseconds since the one before, and what
follows from the rest is left out: what is owned, as long as the history is
whole, and what was ignored of the shown lists. Readers in other languages find
the layout in ``docs/redis.md``.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from itertools import accumulate, count
from operator import sub
from typing import Any, Final

import msgspec
from msgspec import Struct

from features.card import AsOf
from features.parts.base import Ordinal, Whole
from features.parts.history import History, Sign
from features.parts.ignored import Ignored, Shown
from features.parts.impressions import Impressions
from features.parts.owned import Entry, Owned
from features.parts.pace import Pace
from features.parts.situation import Situation
from features.parts.windows import Windows
from features.salvage import salvaged
from features.state import Session
from stream import metrics
from stream.events import MAX_TIME_MS, BadRecord, Merge, malformed

__all__ = ["FORM", "Stored", "bad_merge", "decode_session", "decode_whole", "encode_session"]

log = logging.getLogger(__name__)

FORM: Final = 2
"""Number of the layout; the first one, which bore no number, was that of the memory."""


class StoredHistory(Struct, omit_defaults=True, gc=False):
    """A history: ``types`` are those of type and sign that occur, ``kinds`` their places."""

    items: list[str] = []
    times: list[int] = []
    types: list[tuple[str, Sign]] = []
    kinds: list[Ordinal] = []
    visits: list[Ordinal] = []


class StoredIgnored(Struct, omit_defaults=True, gc=False):
    """What was left alone, as far as it does not follow from the shown lists.

    Attributes
    ----------
    items
        Items that are in no list which is remembered: times shown and last time.
    counts
        Times shown, where it is another number than that in these lists.
    touched
        Items of these lists that are not ignored; None where nothing follows from the lists.
    latest
        When the last list was shown.
    """

    items: dict[str, Shown] = {}
    counts: dict[str, Whole] = {}
    touched: list[str] | None = []
    latest: Whole = 0


class StoredWindows(Struct, omit_defaults=True, gc=False):
    """Counts by day; ``earlier`` is what the totals hold beyond these days."""

    days: dict[str, dict[str, int]] = {}
    earlier: dict[str, int] = {}


class StoredImpressions(Struct, omit_defaults=True, gc=False):
    """The shown lists."""

    lists: list[str] = []
    times: list[int] = []
    items: list[list[str]] = []
    taken: list[list[Ordinal]] = []


class Stored(Struct, omit_defaults=True, gc=False):
    """A :class:`features.state.Session`; ``owned`` is left out where it follows from the history.

    ``as_of`` comes first, which stamped writes rely on.
    """

    as_of: AsOf
    user: str
    form: int = 0
    visit: Ordinal = 0
    visit_id: str = ""
    visit_start: Whole = 0
    events: Whole = 0
    positives: Whole = 0
    history: StoredHistory = msgspec.field(default_factory=StoredHistory)
    owned: dict[str, Entry] | None = None
    ignored: StoredIgnored = msgspec.field(default_factory=StoredIgnored)
    windows: StoredWindows = msgspec.field(default_factory=StoredWindows)
    situation: Situation = msgspec.field(default_factory=Situation)
    impressions: StoredImpressions = msgspec.field(default_factory=StoredImpressions)
    pace: Pace = msgspec.field(default_factory=Pace)
    recent_ids: list[str] = []
    merged: dict[str, list[int]] = {}
    forgotten: Whole = 0


class _Form(Struct, gc=False):
    form: Any = None


_FORM: Final = msgspec.json.Decoder(_Form)
_STORED: Final = msgspec.json.Decoder(Stored)
_FIRST: Final = msgspec.json.Decoder(Session)
_ENCODER: Final = msgspec.json.Encoder()


def encode_session(session: Session) -> bytes:
    """Write a state record; equal states give equal bytes."""
    return _ENCODER.encode(_packed(session))


def decode_session(raw: bytes) -> Session:
    """Read a state record; what does not fit in it is mended or set aside, and counted.

    States outlive the version that wrote them, and a user must not be what
    stops everybody's partition.

    Raises
    ------
    msgspec.MsgspecError, ValueError
        This is nobody's state at all: no JSON object with a stamp and a user.
    """
    try:
        session, lost = _read(raw)
    except (msgspec.MsgspecError, ValueError):
        session, lost = _salvaged(raw)
    if lost:
        metrics.count("sessions.mended")
        log.warning("a user's state was not all readable and is mended: %s", ", ".join(lost))
    return session


def decode_whole(raw: bytes) -> Session:
    """Read a state record in which nothing is to be mended.

    Raises
    ------
    msgspec.MsgspecError, ValueError
        It is none.
    """
    session, lost = _read(raw)
    for column in lost:
        raise msgspec.ValidationError(f"it does not fit the other columns - at `$.{column}`")
    return session


def bad_merge(event: Merge, raw: bytes) -> BadRecord | None:
    """Return what is wrong with the state in a merge, None where it can be folded.

    Nothing is mended here as in a stored state: the visitor's state was written
    by the sender a moment ago, so one that does not fit is not his.

    Parameters
    ----------
    event
        The merge, whose state :func:`stream.events.decode` leaves unread.
    raw
        Its record as it came.
    """
    if not event.state:
        return None
    try:
        decode_whole(bytes(event.state))
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return malformed(str(error), raw, "state")
    return None


def _read(raw: bytes) -> tuple[Session, list[str]]:
    """Read a state of either layout; name the columns that did not fit the others."""
    if _FORM.decode(raw).form is not None:
        return _unpacked(_STORED.decode(raw))
    session = _FIRST.decode(raw)
    return session, _evened(session)


def _salvaged(raw: bytes) -> tuple[Session, list[str]]:
    """Read what can be read, and name the rest."""
    if _FORM.decode(raw).form is not None:
        stored, lost = salvaged(raw, Stored)
        session, uneven = _unpacked(stored)
    else:
        session, lost = salvaged(raw, Session)
        uneven = _evened(session)
    return session, lost + uneven


def _evened(session: Session) -> list[str]:
    """Make the columns of each part fit each other; name one of each that did not."""
    lost = []
    if column := session.history.uneven():
        lost.append(f"history.{column}")
        session.history.even(session.owned.items)
    if column := session.impressions.uneven():
        lost.append(f"impressions.{column}")
        session.impressions = Impressions()
    return lost


def _packed(session: Session) -> Stored:
    windows, shown = session.windows, session.impressions
    beyond = {
        name: total - sum(windows.days.get(name, {}).values())
        for name, total in windows.totals.items()
    }
    return Stored(
        as_of=session.as_of,
        user=session.user,
        form=FORM,
        visit=session.visit,
        visit_id=session.visit_id,
        visit_start=session.visit_start,
        events=session.events,
        positives=session.positives,
        history=_packed_history(session.history),
        owned=None if _follows(session) else session.owned.items,
        ignored=_packed_ignored(session),
        windows=StoredWindows(windows.days, {name: n for name, n in beyond.items() if n}),
        situation=session.situation,
        impressions=StoredImpressions(shown.lists, _steps(shown.times), shown.items, shown.taken),
        pace=session.pace,
        recent_ids=session.recent_ids,
        merged=session.merged,
        forgotten=session.forgotten,
    )


def _packed_history(history: History) -> StoredHistory:
    roles = list(zip(history.types, history.signs, strict=True))
    place = dict(zip(dict.fromkeys(roles), count()))
    kinds = list(map(place.__getitem__, roles))
    times = _steps(history.times)
    return StoredHistory(history.items, times, list(place), kinds, history.visits)


def _packed_ignored(session: Session) -> StoredIgnored:
    kept, latest = session.ignored.items, session.ignored.latest
    shown = _shown(session.impressions.times, session.impressions.items)
    touched = [item for item in shown if item not in kept]
    for item in touched:
        del shown[item]
    if shown == kept and list(shown) == list(kept):  # as usual
        return StoredIgnored(touched=touched, latest=latest)
    older = {item: entry for item, entry in kept.items() if item not in shown}
    counts = {item: kept[item][0] for item, entry in shown.items() if kept[item] != entry}
    if list(kept) != [*older, *shown] or any(kept[item][1] != shown[item][1] for item in counts):
        return StoredIgnored(kept, touched=None, latest=latest)
    return StoredIgnored(older, counts, touched, latest)


def _shown(times: Sequence[int], lists: Sequence[Sequence[str]]) -> dict[str, Shown]:
    """Return how often each item of shown lists was shown, and when last; in that order.

    Examples
    --------
    >>> _shown([1000, 2000], [["a", "b"], ["c", "a"]])
    {'b': (1, 1000), 'c': (1, 2000), 'a': (2, 2000)}
    """
    shown: dict[str, Shown] = {}
    for time, items in zip(times, lists, strict=True):
        once = (1, time)
        for item in items:
            if item in shown:
                shown[item] = (shown.pop(item)[0] + 1, time)
            else:
                shown[item] = once
    return shown


def _follows(session: Session) -> bool:
    """Tell whether what is owned, and in which order, follows from the history."""
    history, owned = session.history, session.owned.items
    if history.signs.count(1) != session.positives:  # some of it is gone
        return False
    found = Owned.of(history).items
    return found == owned and list(found) == list(owned)


def _unpacked(stored: Stored) -> tuple[Session, list[str]]:
    """Return the state, and the columns that did not fit the others."""
    lost: list[str] = []
    history = _history(stored.history, lost)
    impressions = _impressions(stored.impressions, lost)
    windows = stored.windows
    totals = {name: sum(days.values()) for name, days in windows.days.items()}
    for name, more in windows.earlier.items():
        totals[name] = totals.get(name, 0) + more
    session = Session(
        as_of=stored.as_of,
        user=stored.user,
        visit=stored.visit,
        visit_id=stored.visit_id,
        visit_start=stored.visit_start,
        events=stored.events,
        positives=stored.positives,
        history=history,
        owned=Owned.of(history) if stored.owned is None else Owned(stored.owned),
        ignored=_ignored(stored.ignored, impressions),
        windows=Windows(windows.days, totals),
        situation=stored.situation,
        impressions=impressions,
        pace=stored.pace,
        recent_ids=stored.recent_ids,
        merged=stored.merged,
        forgotten=stored.forgotten,
    )
    return session, list(dict.fromkeys(lost))


def _history(stored: StoredHistory, lost: list[str]) -> History:
    roles: list[tuple[str, int]] = []
    if max(stored.kinds, default=-1) < len(stored.types):
        roles = list(map(stored.types.__getitem__, stored.kinds))
    else:
        lost.append("history.kinds")
    types, signs = [kind for kind, _ in roles], [sign for _, sign in roles]
    times = _times(stored.times, "history.times", lost)
    history = History(stored.items, times, types, stored.visits, signs)
    if column := history.uneven():
        lost.append(f"history.{column}")
        history.even(())
    return history


def _ignored(stored: StoredIgnored, impressions: Impressions) -> Ignored:
    items = stored.items
    if stored.touched is not None:
        shown = _shown(impressions.times, impressions.items)
        for item in stored.touched:
            shown.pop(item, None)
        for item, often in stored.counts.items():
            if item in shown:
                shown[item] = often, shown[item][1]
        items |= shown
    return Ignored(items, stored.latest)


def _impressions(stored: StoredImpressions, lost: list[str]) -> Impressions:
    times = _times(stored.times, "impressions.times", lost)
    impressions = Impressions(stored.lists, times, stored.items, stored.taken)
    if column := impressions.uneven():
        lost.append(f"impressions.{column}")
        return Impressions()
    return impressions


def _steps(times: Sequence[int]) -> list[int]:
    """Return how much later each time is than the one before; the first as it is.

    Examples
    --------
    >>> _steps([1000, 1250, 1200]), _times(_steps([1000, 1250, 1200]), "", [])
    ([1000, 250, -50], [1000, 1250, 1200])
    """
    return list(map(sub, times, [0, *times]))


def _times(steps: Iterable[int], name: str, lost: list[str]) -> list[int]:
    """Return the times; none, and a name more among what is lost, where one is out of bounds."""
    times = list(accumulate(steps))
    if times and not 0 <= min(times) <= max(times) <= MAX_TIME_MS:
        lost.append(name)
        return []
    return times
