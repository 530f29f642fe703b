"""Users' states as arrays: what the candidate sources and the blend read.

A micro-batch of questions ("what would this user take at this moment?")
becomes one structure of arrays over the catalogue's item indices. A question
may hide what happened at or after a time (``before``), so that a page whose
events share one timestamp can be predicted from earlier pages alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from features.parts.base import DAY_MS
from features.session import Session
from stream.settings import Settings

__all__ = [
    "Contexts",
    "Entry",
    "ItemIndex",
    "Meaning",
    "Question",
    "Ragged",
    "ask",
    "build_contexts",
    "meaning_of",
]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
ABSENT: Final = -1

Entry = tuple[int, int, float, int]
"""Item row, count, days since the last time, visits since."""


class ItemIndex(Protocol):
    """What gives an item its place in the arrays, also one that has no card yet."""

    def ensure(self, item: str) -> int:
        """Return the item's index, giving it one if it has none."""
        ...

    def __len__(self) -> int:
        """Return how many items have an index."""
        ...


@dataclass(frozen=True, slots=True)
class Question:
    """What is known of one user at one moment, taken out of his state by :func:`ask`.

    Attributes
    ----------
    now
        Epoch milliseconds.
    visit
        Ordinal of the visit that the answer is for.
    items, times, signed, visits
        The history as columns, latest first: rows, times, signed weights, visits.
    owned, ignored
        Rows of (item, count, days since the last time, visits since).
    excluded
        Rows of items that are not to be shown again.
    query
        The last query, empty where it is too old.
    """

    now: int
    visit: int
    items: list[int]
    times: list[int]
    signed: list[float]
    visits: list[int]
    owned: list[Entry]
    ignored: list[Entry]
    excluded: list[int]
    query: str


@dataclass(frozen=True, slots=True)
class Ragged:
    """A list of items per question, as flat arrays of one length.

    Attributes
    ----------
    row, item
        Question and item index.
    count
        How often.
    age
        Days since the last time.
    back
        Visits since (0: in the present visit alone; 0 for what was only shown).
    """

    row: I32
    item: I32
    count: F32
    age: F32
    back: I32


@dataclass(frozen=True, slots=True)
class Contexts:
    """B questions as arrays; L is the longest history, latest interaction first.

    Attributes
    ----------
    now
        (B,) epoch milliseconds.
    items
        (B, L) item indices, -1 beyond the end.
    times
        (B, L) epoch milliseconds, 0 beyond the end.
    age
        (B, L) days before now.
    weight
        (B, L) weight of the interaction's type, negative for negative roles.
    back
        (B, L) visits back: 0 is the visit that the answer is for.
    length
        (B,) interactions known.
    owned, ignored
        Items taken before; items shown and not taken since.
    excluded
        (E, 2) question and item row of what is not to be shown again.
    queries
        B texts: the last query if it is of this visit or the last half hour, else empty.
    """

    now: NDArray[np.int64]
    items: I32
    times: NDArray[np.int64]
    age: F32
    weight: F32
    back: I32
    length: I32
    owned: Ragged
    ignored: Ragged
    excluded: I32
    queries: list[str]

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.now)


QUERY_LIFE_MS: Final = 30 * 60 * 1000


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the types of interactions mean to a question.

    Attributes
    ----------
    weights
        Each type's weight, whatever its role.
    exclude
        Types after which an item is not to be shown again.
    """

    weights: Mapping[str, float]
    exclude: Collection[str] = ()


def meaning_of(settings: Settings) -> Meaning:
    """Return what the settings say of the types of interactions."""
    weights = {name: kind.weight for name, kind in settings.interactions.items()}
    return Meaning(weights, frozenset(settings.recommend.exclude_types))


def ask(
    session: Session,
    now: int,
    index: ItemIndex,
    meaning: Meaning,
    *,
    visit: int = 0,
    before: int | None = None,
) -> Question:
    """Take a question out of a user's state, which may change afterwards.

    Parameters
    ----------
    session
        The user's state.
    now
        The moment, epoch milliseconds.
    index
        Gives item ids their rows.
    meaning
        From :func:`meaning_of`.
    visit
        Ordinal of the visit that the answer is for; the present one where 0.
    before
        Hide what happened at or after this time; None hides nothing.
    """
    weights, exclude = meaning.weights, meaning.exclude
    history = session.history
    end = len(history.times)
    if before is not None:
        seen = [k for k in range(end - 1, -1, -1) if history.times[k] < before]
    else:
        seen = list(range(end - 1, -1, -1))
    ensure = index.ensure
    return Question(
        now=now,
        visit=visit or session.visit,
        items=[ensure(history.items[k]) for k in seen],
        times=[history.times[k] for k in seen],
        signed=[history.signs[k] * weights.get(history.types[k], 0.0) for k in seen],
        visits=[history.visits[k] for k in seen],
        owned=owned_before(session, now, index, visit or session.visit, before),
        ignored=_ignored(session, now, index, before),
        excluded=[ensure(history.items[k]) for k in seen if history.types[k] in exclude],
        query=_query(session, now, before),
    )


def _ignored(session: Session, now: int, index: ItemIndex, before: int | None) -> list[Entry]:
    """Return what was shown and left alone, but for the last list: it is not left yet.

    That an item of the list before his eyes is taken says nothing of what to show next.
    """
    items: Mapping[str, Sequence[int]] = session.ignored.items
    latest = session.ignored.latest
    if before is not None:
        items, latest = _ignored_until(session, before)
    return [
        (index.ensure(item), count - (last == latest), max(0, now - last) / DAY_MS, 0)
        for item, (count, last) in items.items()
        if count > (last == latest)
    ]


def _ignored_until(session: Session, before: int) -> tuple[Mapping[str, Sequence[int]], int]:
    """Return what was ignored before a time, and when the last list was shown.

    What later lists and deeds have changed is read from the kept lists and the
    history; a deed at the very time of a list is taken for one that followed it.
    """
    kept, latest = session.ignored.items, session.ignored.latest
    touches = list(zip(session.history.items, session.history.times, strict=True))
    undone = {item for item, time in touches if time >= before}
    changed = {item for item, (_, last) in kept.items() if last >= before}
    changed |= undone - kept.keys()
    if not changed and latest < before:
        return kept, latest
    touched = {item: time for item, time in sorted(touches, key=itemgetter(1)) if time < before}
    lists, shown = session.impressions, dict[str, tuple[int, int, int]]()
    for time, items in zip(lists.times, lists.items, strict=True):
        for item in changed.intersection(items):
            since, hidden, last = shown.get(item, (0, 0, 0))
            times = items.count(item)
            if time >= before:
                shown[item] = since, hidden + times, last
            else:
                since += times if time > touched.get(item, -1) else 0
                shown[item] = since, hidden, max(last, time)
    found = {item: entry for item, entry in kept.items() if item not in changed}
    for item, (since, hidden, last) in shown.items():
        count = since if item in undone else kept[item][0] - max(1, hidden)
        if count > 0 and last:  # else nothing is known, or the lists do not reach so far
            found[item] = [count, last]
    if latest >= before:
        known = [*lists.times, *(last for _, last in found.values())]
        latest = max((time for time in known if time < before), default=0)
    return found, latest


def owned_before(
    session: Session, now: int, index: ItemIndex, visit: int, before: int | None = None
) -> list[Entry]:
    """Return what was taken in visits before this one, and what in this one alone.

    An item taken in earlier visits and again in this one counts as it did
    before this visit began.
    """
    owned = session.owned.items if before is None else _owned_until(session, before)
    rows = []
    for item, (count, _, earlier, earlier_visit, last, last_visit) in owned.items():
        if last_visit != visit:
            times, time, back = count, last, max(1, visit - last_visit)
        elif earlier:
            times, time, back = count - 1, earlier, max(1, visit - earlier_visit)
        else:
            times, time, back = count, last, 0
        rows.append((index.ensure(item), times, max(0, now - time) / DAY_MS, back))
    return rows


def _owned_until(session: Session, before: int) -> Mapping[str, list[int]]:
    """Return what was owned before a time, as the state then kept it."""
    kept, history = session.owned.items, session.history
    taken: dict[str, list[tuple[int, int]]] = {
        item: [] for item, entry in kept.items() if entry[4] >= before
    }
    if not taken:
        return kept
    for place, item in enumerate(history.items):
        if item in taken and history.signs[place] > 0:
            taken[item].append((history.visits[place], history.times[place]))
    found = dict(kept)
    for item, times in taken.items():
        entry = _entry_until(found.pop(item), times, before)
        if entry is not None:
            found[item] = entry
    return found


def _entry_until(
    entry: Sequence[int], taken: Sequence[tuple[int, int]], before: int
) -> list[int] | None:
    """Return an item's entry among the owned as it was before a time, None where it had none.

    Parameters
    ----------
    entry
        As it is now: see :class:`features.parts.owned.Owned`.
    taken
        Visit and time of each taking that the history still holds.
    before
        The time.
    """
    count, first, earlier, earlier_visit, _, last_visit = entry
    seen: dict[int, int] = {}
    for visit, time in taken:
        if time < before:
            seen[visit] = max(seen.get(visit, 0), time)
    if 0 < earlier < before:
        seen.setdefault(earlier_visit, earlier)
    if not seen and first < before:  # the history does not reach so far
        seen[earlier_visit or last_visit] = first
    if not seen:
        return None
    *past, final = sorted(seen)
    hidden = {visit for visit, _ in taken} - seen.keys()
    until = max((seen[visit] for visit in past), default=0)
    last = max(seen.values())
    return [max(1, count - len(hidden)), first, until, past[-1] if past else 0, last, final]


def _query(session: Session, now: int, before: int | None) -> str:
    situation = session.situation
    fresh = now - situation.query_time <= QUERY_LIFE_MS
    hidden = before is not None and situation.query_time >= before
    return situation.query if fresh and not hidden else ""


def build_contexts(questions: Sequence[Question]) -> Contexts:
    """Turn questions into arrays, one row each."""
    now = np.array([question.now for question in questions], dtype=np.int64)
    lengths = np.array([len(question.items) for question in questions], dtype=np.int32)
    shape = (len(questions), max(1, int(lengths.max(initial=0))))
    filled = np.arange(shape[1]) < lengths[:, None]
    items = np.full(shape, ABSENT, np.int32)
    times = np.zeros(shape, np.int64)
    weight = np.zeros(shape, np.float32)
    visits = np.zeros(shape, np.int32)
    items[filled] = [item for question in questions for item in question.items]
    times[filled] = [time for question in questions for time in question.times]
    weight[filled] = [sign for question in questions for sign in question.signed]
    visits[filled] = [visit for question in questions for visit in question.visits]
    visit = np.array([question.visit for question in questions], dtype=np.int32)
    return Contexts(
        now=now,
        items=items,
        times=times,
        age=(np.maximum(now[:, None] - times, 0) / DAY_MS).astype(np.float32),
        weight=weight,
        back=np.maximum(visit[:, None] - visits, 0).astype(np.int32),
        length=lengths,
        owned=_ragged([question.owned for question in questions]),
        ignored=_ragged([question.ignored for question in questions]),
        excluded=np.array(
            [(row, item) for row, q in enumerate(questions) for item in q.excluded], np.int32
        ).reshape(-1, 2),
        queries=[question.query for question in questions],
    )


def _ragged(lists: Sequence[list[Entry]]) -> Ragged:
    table = np.array([entry for entries in lists for entry in entries], dtype=np.float64)
    table = table.reshape(-1, 4)
    counts = [len(entries) for entries in lists]
    return Ragged(
        row=np.repeat(np.arange(len(lists), dtype=np.int32), counts),
        item=table[:, 0].astype(np.int32),
        count=table[:, 1].astype(np.float32),
        age=table[:, 2].astype(np.float32),
        back=table[:, 3].astype(np.int32),
    )
