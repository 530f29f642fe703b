"""A user's state: one record, changed by a pure fold over his events in partition order.

The state holds what the events say and nothing else. Whatever needs the
catalogue (category and price affinities, content vectors of a taste) is
computed when it is read, from the history and the catalogue as it then is
(:mod:`features.contexts`); so the same events end in the same bytes whether
the catalogue came first or last.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final

import msgspec

from features.card import AsOf
from features.parts.base import Moment, Part, Rules
from features.state import PARTS, Session, new_session
from features.stored import bad_merge, decode_session, decode_whole, encode_session
from stream.events import (
    Delete,
    Event,
    Identify,
    Interaction,
    Merge,
    Millis,
    Ranking,
    Search,
    User,
)

__all__ = [
    "PARTS",
    "Session",
    "admit",
    "advance",
    "bad_merge",
    "decode_session",
    "encode_session",
    "fold",
    "is_new",
    "merge_of",
    "moment_of",
    "new_session",
]

REMEMBERED_IDS: Final = 32
REMEMBERED_MERGES: Final = 8


_Parts = Callable[[Session], tuple[Part, ...]]

_HEEDING: Final[dict[type, _Parts]] = {
    kind: attrgetter(*(name for name in PARTS if kind in getattr(new_session(""), name).heeds))
    for kind in (Interaction, Ranking, Search, User)
}
"""By the usual kinds of events the parts that they may change, in fold order."""

_all_parts: Final[_Parts] = attrgetter(*PARTS)


def merge_of(session: Session, event: Identify) -> Merge | None:
    """Return what an anonymous visitor hands over to the user that he turned out to be.

    To be asked before the event is admitted, which empties the state; None where there is nothing.
    """
    if not session.events:
        return None
    return Merge(
        timestamp=Millis(event.timestamp),
        user=event.user,
        anonymous=event.anonymous,
        state=msgspec.Raw(encode_session(session)),
    )


def is_new(session: Session, partition: int, offset: int) -> bool:
    """Tell whether the event at this place is not folded in yet."""
    as_of = session.as_of
    return offset > as_of.offset or as_of.partition != partition


def moment_of(session: Session, event: Event, rules: Rules) -> Moment:
    """Place an event in the user's life: in the present visit, or opening the next.

    A visit ends when the event names another session, or after
    ``session.gap_s`` of silence. A late event belongs to the present visit.
    """
    time = int(event.timestamp)
    silence = time - session.as_of.event_time  # less than nothing where the event is late
    visit = session.visit
    if visit == 0:
        visit = 1
    elif silence >= 0:
        named, present = getattr(event, "session", None), session.visit_id
        if not named or not present:
            visit += silence > rules.session.gap_s * 1000
        elif named != present:
            visit += 1
    if isinstance(event, Interaction):
        return Moment(time, visit, *rules.role(event))
    return Moment(time, visit)


def admit(session: Session, event: Event, place: tuple[int, int], rules: Rules) -> Moment | None:
    """Tell whether an event is to be folded in, and when it happened in the user's life.

    Events that are not folded leave their trace here: a redelivered one none,
    a duplicate by id and one from before the user was forgotten move the
    stamp, and so does a visitor's state that is handed over again; ``delete`` and
    ``identify`` empty the state.

    Parameters
    ----------
    session
        The state, changed in place; pure otherwise: no clock, no randomness.
    event
        The user's next event in partition order.
    place
        Its (partition, offset); an event that is not newer changes nothing.
    rules
        Settings of the fold.

    Returns
    -------
    Moment or None
        What :func:`advance` wants to know; None where there is nothing to fold.
    """
    if not is_new(session, *place):
        return None
    if isinstance(event, (Delete, Identify)):
        time = max(session.as_of.event_time, int(event.timestamp))
        # A second one that comes late takes nothing back of the first.
        forgotten = max(session.forgotten, int(event.timestamp))
        _empty(session, AsOf(*place, time), forgotten=forgotten)
        return None
    if (
        event.timestamp <= session.forgotten
        or (event.id is not None and _duplicate(session, event.id))
        or (isinstance(event, Merge) and _taken(session, event))
    ):
        session.as_of = AsOf(*place, session.as_of.event_time)
        return None
    return moment_of(session, event, rules)


def advance(
    session: Session, event: Event, moment: Moment, place: tuple[int, int], rules: Rules
) -> None:
    """Fold an admitted event into the state, in place."""
    if isinstance(event, Merge):
        _merge(session, event, rules)
    elif moment.visit != session.visit:
        session.visit, session.visit_start = moment.visit, moment.time
        session.visit_id = getattr(event, "session", None) or ""
    time, latest = moment.time, session.as_of.event_time
    session.as_of = AsOf(*place, time if time > latest else latest)
    session.events += 1
    if moment.sign > 0:
        session.positives += 1
    for part in _HEEDING.get(type(event), _all_parts)(session):
        part.fold(event, moment, rules)


def fold(session: Session, event: Event, place: tuple[int, int], rules: Rules) -> Moment | None:
    """Admit an event and fold it in; return its moment, or None where it was not folded."""
    moment = admit(session, event, place, rules)
    if moment is not None:
        advance(session, event, moment, place, rules)
    return moment


def _duplicate(session: Session, name: str) -> bool:
    recent = session.recent_ids
    if name in recent:
        return True
    recent.append(name)
    if len(recent) > REMEMBERED_IDS:
        del recent[:-REMEMBERED_IDS]
    return False


def _taken(session: Session, event: Merge) -> bool:
    """Tell whether this much of a visitor is here: after a crash it is handed over again."""
    if event.anonymous not in session.merged or not event.state:
        return False
    as_of = decode_whole(bytes(event.state)).as_of
    return session.merged[event.anonymous] >= [as_of.partition, as_of.offset]


def _empty(session: Session, as_of: AsOf, *, forgotten: int) -> None:
    """Empty the state; the stamp and the time stay, so that nothing late revives it."""
    empty = Session(as_of=as_of, user=session.user, forgotten=forgotten)
    for name in Session.__struct_fields__:
        setattr(session, name, getattr(empty, name))


def _merge(session: Session, event: Merge, rules: Rules) -> None:
    """Take over an anonymous session, once: its interactions join this user's history."""
    if not event.state:
        return
    other = decode_whole(bytes(event.state))
    session.merged[event.anonymous] = [other.as_of.partition, other.as_of.offset]
    for name in list(session.merged)[:-REMEMBERED_MERGES]:
        del session.merged[name]
    columns: list[Any] = [session.history, other.history]
    rows = sorted(
        (
            row
            for part in columns
            for row in zip(part.times, part.items, part.types, part.signs, strict=True)
        ),
        key=lambda row: row[0],
    )
    merged = new_session(session.user)
    for at, (time, item, kind, _) in enumerate(rows):
        past = Interaction(timestamp=Millis(time), user=session.user, item=item, type=kind)
        fold(merged, past, (0, at), rules)
    # the values that may have turned a sign are not kept: the signs are
    merged.history.signs = [row[3] for row in rows[len(rows) - len(merged.history.items) :]]
    _take_history(session, merged)
    session.positives += other.positives
    _merge_counts(session, other, rules)


def _take_history(session: Session, merged: Session) -> None:
    """Take over a history, its visits numbered so that the latest one is the present one."""
    earlier = int(merged.as_of.event_time < session.visit_start)
    session.visit = max(session.visit, merged.visit + earlier)
    shift = session.visit - merged.visit - earlier
    session.history = merged.history
    session.history.visits = [visit + shift for visit in merged.history.visits]


def _merge_counts(session: Session, other: Session, rules: Rules) -> None:
    for item, entry in other.owned.items.items():
        mine = session.owned.items.pop(item, (0, entry[1], 0, 0, 0, 0))
        first, last = min(mine[1], entry[1]), max(mine[4], entry[4])
        earlier = min(mine[4], entry[4]) or max(mine[2], entry[2])
        visits = [max(0, session.visit - 1), session.visit]
        count = mine[0] + entry[0]
        session.owned.items[item] = (count, first, earlier, visits[0], last, visits[1])
    session.ignored.latest = max(session.ignored.latest, other.ignored.latest)
    for item, shown in other.ignored.items.items():
        present = session.ignored.items.pop(item, (0, 0))
        session.ignored.items[item] = (present[0] + shown[0], max(present[1], shown[1]))
    for items, bound in (
        (session.owned.items, rules.session.owned),
        (session.ignored.items, rules.session.ignored),
    ):
        for item in list(items)[: max(0, len(items) - bound)]:
            del items[item]
    if other.situation.query_time > session.situation.query_time:
        session.situation.query = other.situation.query
        session.situation.query_time = other.situation.query_time
    for key, text in other.situation.context.items():
        session.situation.context.setdefault(key, text)
    session.impressions.absorb(other.impressions)
