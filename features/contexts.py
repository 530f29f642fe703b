"""Users' states as arrays: what the candidate sources and the blend read.

A micro-batch of questions ("what would this user take at this moment?")
becomes one structure of arrays over the catalogue's item indices. A question
may hide what happened at or after a time (``before``), so that a page whose
events share one timestamp can be predicted from earlier pages alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from features.parts.base import DAY_MS, NEUTRAL
from features.session import Session
from stream.settings import InteractionType

__all__ = ["Contexts", "ItemIndex", "Question", "Ragged", "build_contexts"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
ABSENT: Final = -1


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
    """One user at one moment.

    Attributes
    ----------
    session
        His state.
    now
        Epoch milliseconds.
    visit
        Ordinal of the visit that the answer is for; the present one where 0.
    before
        Hide what happened at or after this time; None hides nothing.
    """

    session: Session
    now: int
    visit: int = 0
    before: int | None = None


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
    span
        Days between the first and the last time (0 where unknown).
    """

    row: I32
    item: I32
    count: F32
    age: F32
    span: F32


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
    queries: list[str]
    rate: F32
    hour: I32

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.now)


QUERY_LIFE_MS: Final = 30 * 60 * 1000


def build_contexts(
    questions: Sequence[Question], index: ItemIndex, types: Mapping[str, InteractionType]
) -> Contexts:
    """Turn questions into arrays.

    Parameters
    ----------
    questions
        B users at their moments.
    index
        Gives item ids their places.
    types
        What each type of interaction means.

    Returns
    -------
    Contexts
        Arrays over the catalogue as ``index`` knows it after the call.
    """
    now = np.array([question.now for question in questions], dtype=np.int64)
    keep = [_visible(question) for question in questions]
    longest = max((len(rows) for rows in keep), default=0)
    shape = (len(questions), max(1, longest))
    items = np.full(shape, ABSENT, np.int32)
    times = np.zeros(shape, np.int64)
    weight = np.zeros(shape, np.float32)
    back = np.zeros(shape, np.int32)
    signed = {name: _signed(kind) for name, kind in types.items()}
    for row, (question, rows) in enumerate(zip(questions, keep, strict=True)):
        n, history = len(rows), question.session.history
        if n:
            items[row, :n] = [index.ensure(history.items[k]) for k in rows]
            times[row, :n] = [history.times[k] for k in rows]
            weight[row, :n] = [signed.get(history.types[k], 0.0) for k in rows]
            back[row, :n] = [history.visits[k] for k in rows]
    visits = np.array([q.visit or q.session.visit for q in questions], dtype=np.int32)
    hidden = np.array(
        [len(q.session.history.items) - len(rows) for q, rows in zip(questions, keep, strict=True)]
    )
    positives = np.array([q.session.positives for q in questions]) - hidden
    return Contexts(
        now=now,
        items=items,
        age=(np.maximum(now[:, None] - times, 0) / DAY_MS).astype(np.float32),
        weight=weight,
        back=np.maximum(visits[:, None] - back, 0),
        length=np.array([len(rows) for rows in keep], dtype=np.int32),
        positives=np.maximum(positives, 0).astype(np.int32),
        owned=_owned(questions, index),
        ignored=_ignored(questions, index),
        queries=[_query(question) for question in questions],
        rate=np.array(
            [q.session.windows.rate(prior=0.1, strength=20) for q in questions], dtype=np.float32
        ),
        hour=((now // 3_600_000) % 24).astype(np.int32),
    )


def _signed(kind: InteractionType) -> float:
    return {"positive": 1, "negative": -1, "neutral": 0}[kind.role] * kind.weight or NEUTRAL.weight


def _visible(question: Question) -> list[int]:
    """Return the places in the history that the question may see, latest first."""
    times = question.session.history.times
    if question.before is None:
        return list(range(len(times) - 1, -1, -1))
    return [k for k in range(len(times) - 1, -1, -1) if times[k] < question.before]


def _owned(questions: Sequence[Question], index: ItemIndex) -> Ragged:
    rows: list[tuple[int, int, int, int, int]] = []
    for row, question in enumerate(questions):
        limit = question.before
        for item, (count, first, earlier, last, _) in question.session.owned.items.items():
            if limit is None or last < limit:
                rows.append((row, index.ensure(item), count, question.now - last, last - first))
            elif earlier and earlier < limit:
                age, span = question.now - earlier, earlier - first
                rows.append((row, index.ensure(item), count - 1, age, span))
    return _ragged(rows)


def _ignored(questions: Sequence[Question], index: ItemIndex) -> Ragged:
    rows: list[tuple[int, int, int, int, int]] = []
    for row, question in enumerate(questions):
        for item, (count, last) in question.session.ignored.items.items():
            if question.before is None or last < question.before:
                rows.append((row, index.ensure(item), count, question.now - last, 0))
    return _ragged(rows)


def _ragged(rows: list[tuple[int, int, int, int, int]]) -> Ragged:
    table = np.array(rows, dtype=np.float64).reshape(-1, 5)
    return Ragged(
        row=table[:, 0].astype(np.int32),
        item=table[:, 1].astype(np.int32),
        count=table[:, 2].astype(np.float32),
        age=(np.maximum(table[:, 3], 0) / DAY_MS).astype(np.float32),
        span=(np.maximum(table[:, 4], 0) / DAY_MS).astype(np.float32),
    )


def _query(question: Question) -> str:
    situation = question.session.situation
    fresh = question.now - situation.query_time <= QUERY_LIFE_MS
    hidden = question.before is not None and situation.query_time >= question.before
    return situation.query if situation.query and fresh and not hidden else ""
