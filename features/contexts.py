"""Users' states as arrays: what the candidate sources and the blend read.

A micro-batch of questions ("what would this user take at this moment?")
becomes one structure of arrays over the catalogue's item indices. A question
may hide what happened at or after a time (``before``), so that a page whose
events share one timestamp can be predicted from earlier pages alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
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
    positives
        Positive interactions known, over all time.
    owned, ignored
        Rows of (item, count, days since the last time, visits since).
    excluded
        Rows of items that are not to be shown again.
    query
        The last query, empty where it is too old.
    rate
        Smoothed share of shown items that he takes.
    """

    now: int
    visit: int
    items: list[int]
    times: list[int]
    signed: list[float]
    visits: list[int]
    positives: int
    owned: list[Entry]
    ignored: list[Entry]
    excluded: list[int]
    query: str
    rate: float


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
    age
        (B, L) days before now.
    weight
        (B, L) weight of the interaction's type, negative for negative roles.
    back
        (B, L) visits back: 0 is the visit that the answer is for.
    length
        (B,) interactions known.
    positives
        (B,) positive interactions known, over all time.
    owned, ignored
        Items taken before; items shown and not taken since.
    excluded
        (E, 2) question and item row of what is not to be shown again.
    queries
        B texts: the last query if it is of this visit or the last half hour, else empty.
    rate
        (B,) smoothed share of shown items that the user takes.
    hour
        (B,) hour of the day, UTC.
    """

    now: NDArray[np.int64]
    items: I32
    age: F32
    weight: F32
    back: I32
    length: I32
    positives: I32
    owned: Ragged
    ignored: Ragged
    excluded: I32
    queries: list[str]
    rate: F32
    hour: I32

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
        positives=max(0, session.positives - (end - len(seen))),
        owned=owned_before(session, now, index, visit or session.visit, before),
        ignored=_ignored(session, now, index, before),
        excluded=[ensure(history.items[k]) for k in seen if history.types[k] in exclude],
        query=_query(session, now, before),
        rate=session.windows.rate(prior=0.1, strength=20),
    )


def _ignored(session: Session, now: int, index: ItemIndex, before: int | None) -> list[Entry]:
    """Return what was shown and left alone, but for the last list: it is not left yet.

    That an item of the list before his eyes is taken says nothing of what to show next.
    """
    latest = session.ignored.latest
    return [
        (index.ensure(item), count - (last == latest), max(0, now - last) / DAY_MS, 0)
        for item, (count, last) in session.ignored.items.items()
        if count > (last == latest) and (before is None or last < before)
    ]


def owned_before(
    session: Session, now: int, index: ItemIndex, visit: int, before: int | None = None
) -> list[Entry]:
    """Return what was taken in visits before this one, and what in this one alone.

    An item taken in earlier visits and again in this one counts as it did
    before this visit began.
    """
    rows = []
    for item, (count, _, earlier, earlier_visit, last, last_visit) in session.owned.items.items():
        hidden = before is not None and last >= before
        if last_visit == visit or hidden:
            if earlier and (before is None or earlier < before):
                age = max(0, now - earlier) / DAY_MS
                rows.append((index.ensure(item), count - 1, age, max(1, visit - earlier_visit)))
            elif not hidden:
                rows.append((index.ensure(item), count, max(0, now - last) / DAY_MS, 0))
        else:
            age = max(0, now - last) / DAY_MS
            rows.append((index.ensure(item), count, age, max(1, visit - last_visit)))
    return rows


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
        age=(np.maximum(now[:, None] - times, 0) / DAY_MS).astype(np.float32),
        weight=weight,
        back=np.maximum(visit[:, None] - visits, 0).astype(np.int32),
        length=lengths,
        positives=np.array([q.positives for q in questions], dtype=np.int32),
        owned=_ragged([question.owned for question in questions]),
        ignored=_ragged([question.ignored for question in questions]),
        excluded=np.array(
            [(row, item) for row, q in enumerate(questions) for item in q.excluded], np.int32
        ).reshape(-1, 2),
        queries=[question.query for question in questions],
        rate=np.array([question.rate for question in questions], dtype=np.float32),
        hour=((now // 3_600_000) % 24).astype(np.int32),
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
