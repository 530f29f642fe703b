"""What a micro-batch has to teach, step by step, in event order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from features.contexts import Kept
from models.open_list import OpenList

__all__ = ["Click", "Gone", "Mode", "Place", "Shown", "Step", "Taken", "Tick", "Took"]

F32 = NDArray[np.float32]

Place: TypeAlias = tuple[int, int]
"""Partition and offset of an event."""

Mode: TypeAlias = Literal["strict", "order", "stale"]
"""What a question knows of its user: what happened at earlier times; all that is earlier in
the log; what was known at an earlier moment that the observer chose."""


@dataclass(slots=True)
class Taken:
    """A positive interaction: the item taken, and the question it answers.

    Attributes
    ----------
    place, time
        Where the event is, and when it happened.
    user
        Who took it.
    item
        Row of the item.
    question
        Place of the question in the micro-batch.
    mode
        What the question knows of its user.
    learn
        Whether it was drawn for learning.
    x, segment, chosen
        Features of the candidates, the question's segment, and which of them is the
        item; filled in by the learning pass where the item is among them.
    lift
        How much likelier than by chance each source held the item.
    """

    place: Place
    time: int
    user: str
    item: int
    question: int
    mode: Mode
    learn: bool
    x: F32 | None = None
    segment: int = 0
    chosen: int = 0
    lift: F32 | None = None


@dataclass(slots=True)
class Shown:
    """A shown list, the question it answers, if any, and whether it was drawn for learning."""

    place: Place
    name: str
    opened: OpenList
    question: int | None
    learn: bool


@dataclass(frozen=True, slots=True)
class Took:
    """A positive for the sources to learn from.

    Attributes
    ----------
    place, time, visit
        Where the event is, when it happened, and in which visit.
    item
        Row of the item.
    history
        Rows of the items before it, latest first.
    repeat
        Whether the user had the item already.
    owned
        What he had, where any of it is to be learned from.
    first, anew
        Whether it is the first positive of its visit, and the first of its item in the visit,
        which he had before.
    """

    place: Place
    time: int
    visit: int
    item: int
    history: tuple[int, ...]
    repeat: bool
    owned: Kept | None
    first: bool
    anew: bool


@dataclass(slots=True)
class Click:
    """A positive on a shown list."""

    place: Place
    name: str
    item: str


@dataclass(slots=True)
class Tick:
    """Any event: its user has come to its time."""

    place: Place
    user: str
    time: int


@dataclass(slots=True)
class Gone:
    """A visitor turned out to be somebody, or a user is forgotten: his lists tell no more."""

    place: Place
    user: str


Step = Tick | Taken | Shown | Click | Gone
