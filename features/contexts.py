"""Users' states as arrays: what the candidate sources and the blend read.

A micro-batch of questions ("what would this user take at this moment?")
becomes one structure of arrays over the catalogue's item indices. A question
may hide what happened at or after a time (``before``), so that a page whose
events share one timestamp can be predicted from earlier pages alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import chain, compress
from operator import mul
from typing import Final, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from features.hindsight import ignored_until, owned_until
from features.parts.base import DAY_MS
from features.session import Session
from stream.settings import Settings

__all__ = [
    "Contexts",
    "ItemIndex",
    "Kept",
    "Meaning",
    "Question",
    "Ragged",
    "ask",
    "build_contexts",
    "joined",
    "meaning_of",
    "taken_before",
]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
ABSENT: Final = -1

T = TypeVar("T", bound=np.generic)


class ItemIndex(Protocol):
    """What gives an item its place in the arrays, also one that has no card yet."""

    def ensure(self, item: str) -> int:
        """Return the item's index, giving it one if it has none."""
        ...

    def rows_of(self, items: Iterable[str]) -> I64:
        """Return the indices (n,) of several items, giving one to those that have none."""
        ...

    def __len__(self) -> int:
        """Return how many items have an index."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """Items of one part of a state, copied out of it as they stand there.

    Attributes
    ----------
    rows
        (n,) row of each item.
    facts
        (n * k,) the k numbers that are kept of each, one after another.
    """

    rows: I64
    facts: I64


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
        What :class:`features.parts.owned.Owned` and :class:`features.parts.ignored.Ignored`
        hold.
    latest
        When the last list was shown, which is not left alone yet.
    excluded
        Rows of items that are not to be shown again.
    query
        The last query, empty where it is too old.
    asking
        Whether nothing was done since: what is taken next is what the query finds.
    """

    now: int
    visit: int
    items: I64
    times: list[int]
    signed: list[float]
    visits: list[int]
    owned: Kept
    ignored: Kept
    latest: int
    excluded: list[int]
    query: str
    asking: bool


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
    asking
        (B,) whether nothing was done since.
    """

    now: I64
    items: I32
    times: I64
    age: F32
    weight: F32
    back: I32
    length: I32
    owned: Ragged
    ignored: Ragged
    excluded: I32
    queries: list[str]
    asking: NDArray[np.bool_]

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
    exclude: Set[str] = frozenset()


class _Weights(dict[str, float]):
    """Weights by type; a type that nobody has set weighs nothing."""

    def __missing__(self, name: str) -> float:
        return 0.0


def meaning_of(settings: Settings) -> Meaning:
    """Return what the settings say of the types of interactions."""
    weights = _Weights((name, kind.weight) for name, kind in settings.interactions.items())
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
    history = session.history
    items, times, types = history.items[::-1], history.times[::-1], history.types[::-1]
    signs, visits = history.signs[::-1], history.visits[::-1]
    owned: Mapping[str, Sequence[int]] = session.owned.items
    ignored: Mapping[str, Sequence[int]] = session.ignored.items
    latest = session.ignored.latest
    if before is not None:
        owned, (ignored, latest) = owned_until(session, before), ignored_until(session, before)
        seen = [time < before for time in times]
        items, types = list(compress(items, seen)), list(compress(types, seen))
        times, signs, visits = (list(compress(one, seen)) for one in (times, signs, visits))
    # all at once: to begin an array costs more than to fill it
    all_rows = index.rows_of([*items, *owned, *ignored])
    rows, n = all_rows[: len(items)], len(items) + len(owned)
    facts = chain.from_iterable(chain(owned.values(), ignored.values()))
    all_facts = np.fromiter(facts, np.int64, 6 * len(owned) + 2 * len(ignored))
    hidden, query = meaning.exclude, _query(session, now, before)
    return Question(
        now=now,
        visit=visit or session.visit,
        items=rows,
        times=times,
        signed=list(map(mul, signs, map(meaning.weights.__getitem__, types))),
        visits=visits,
        owned=Kept(all_rows[len(items) : n], all_facts[: 6 * len(owned)]),
        ignored=Kept(all_rows[n:], all_facts[6 * len(owned) :]),
        latest=latest,
        excluded=[int(row) for row, name in zip(rows, types, strict=True) if name in hidden]
        if hidden
        else [],
        query=query,
        asking=bool(query) and (not times or session.situation.query_time > times[0]),
    )


def taken_before(facts: I64, now: I64, visit: I64) -> tuple[I64, NDArray[np.float64], I64]:
    """Return the count, the age in days and the visits since of n items taken before.

    Parameters
    ----------
    facts
        (n * 6,) as of :class:`features.parts.owned.Owned`.
    now, visit
        (n,) when and in which visit.
    """
    count, _, earlier, earlier_visit, last, last_visit = facts.reshape(-1, 6).T
    here = last_visit == visit
    again = here & (earlier != 0)
    time = np.where(again, earlier, last)
    back = np.maximum(1, visit - np.where(again, earlier_visit, last_visit))
    back[here & ~again] = 0
    return count - again, np.maximum(0, now - time) / DAY_MS, back


def _left(facts: I64, now: I64, latest: I64) -> tuple[I64, NDArray[np.float64]]:
    """Return how often n items were left alone, and the age in days.

    The last list is not left yet: that an item of the list before a user's eyes is taken
    says nothing of what to show next.

    Parameters
    ----------
    facts
        (n * 2,) as of :class:`features.parts.ignored.Ignored`.
    now, latest
        (n,) when, and when the last list was shown.
    """
    count, last = facts.reshape(-1, 2).T
    return count - (last == latest), np.maximum(0, now - last) / DAY_MS


def _query(session: Session, now: int, before: int | None) -> str:
    situation = session.situation
    fresh = now - situation.query_time <= QUERY_LIFE_MS
    hidden = before is not None and situation.query_time >= before
    return situation.query if fresh and not hidden else ""


def build_contexts(questions: Sequence[Question]) -> Contexts:
    """Turn questions into arrays, one row each."""
    now = np.array([question.now for question in questions], dtype=np.int64)
    visit = np.array([question.visit for question in questions], dtype=np.int64)
    lengths = np.array([len(question.items) for question in questions], dtype=np.int32)
    filled = np.arange(max(1, int(lengths.max(initial=0)))) < lengths[:, None]
    times = _table(filled, [question.times for question in questions], np.int64)
    visits = _table(filled, [question.visits for question in questions], np.int64)
    return Contexts(
        now=now,
        items=_table(filled, [question.items for question in questions], np.int32, ABSENT),
        times=times,
        age=(np.maximum(now[:, None] - times, 0) / DAY_MS).astype(np.float32),
        weight=_table(filled, [question.signed for question in questions], np.float32),
        back=np.maximum(visit[:, None] - visits, 0).astype(np.int32),
        length=lengths,
        owned=_owned_of(questions, now, visit),
        ignored=_ignored_of(questions, now),
        excluded=np.array(
            [(row, item) for row, q in enumerate(questions) for item in q.excluded], np.int32
        ).reshape(-1, 2),
        queries=[question.query for question in questions],
        asking=np.array([question.asking for question in questions], dtype=np.bool_),
    )


def _table(
    filled: NDArray[np.bool_], columns: Iterable[Iterable[float]], dtype: type[T], fill: int = 0
) -> NDArray[T]:
    """Return the columns as rows of one array, which they fill where they reach."""
    table = np.full(filled.shape, fill, dtype)
    table[filled] = np.fromiter(chain.from_iterable(columns), dtype, np.count_nonzero(filled))
    return table


def _owned_of(questions: Sequence[Question], now: I64, visit: I64) -> Ragged:
    row, item, facts = joined([question.owned for question in questions])
    count, age, back = taken_before(facts, now[row], visit[row])
    return Ragged(
        row, item, count.astype(np.float32), age.astype(np.float32), back.astype(np.int32)
    )


def _ignored_of(questions: Sequence[Question], now: I64) -> Ragged:
    row, item, facts = joined([question.ignored for question in questions])
    latest = np.array([question.latest for question in questions], dtype=np.int64)
    count, age = _left(facts, now[row], latest[row])
    left = count > 0
    return Ragged(
        row[left],
        item[left],
        count[left].astype(np.float32),
        age[left].astype(np.float32),
        np.zeros(np.count_nonzero(left), dtype=np.int32),
    )


def joined(parts: Sequence[Kept]) -> tuple[I32, I32, I64]:
    """Return question, item and facts of what several questions keep."""
    row = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.rows) for part in parts])
    none = [np.zeros(0, dtype=np.int64)]
    item = np.concatenate([part.rows for part in parts] or none)
    return row, item.astype(np.int32), np.concatenate([part.facts for part in parts] or none)
