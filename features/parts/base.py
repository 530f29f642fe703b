"""What every part of a user's state is: a struct with a pure fold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta, Struct

from stream.events import MAX_TIME_MS, Event, Interaction
from stream.settings import InteractionType, SessionSettings

__all__ = ["DAY_MS", "NEUTRAL", "Moment", "Ordinal", "Part", "Rules", "Whole"]

DAY_MS: Final = 86_400_000
_SIGNS: Final = {"positive": 1, "negative": -1, "neutral": 0}
NEUTRAL: Final = InteractionType(role="neutral", weight=0.0)

Whole = Annotated[int, Meta(ge=0, le=MAX_TIME_MS)]
"""A count, or a time in epoch milliseconds; one beyond would not fit into an array of numbers."""

Ordinal = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""The number of a visit or a position, which arrays hold in 32 bits."""


class Rules(Struct, frozen=True):
    """What the fold must know besides the event: settings, never a clock.

    Attributes
    ----------
    session
        How much is remembered.
    types
        What each type of interaction means; an unlisted type is neutral.
    """

    session: SessionSettings
    types: Mapping[str, InteractionType]

    def role(self, event: Interaction) -> tuple[int, float]:
        """Return (sign, weight) of an interaction: 1 positive, -1 negative, 0 neutral."""
        kind = self.types.get(event.type, NEUTRAL)
        sign = _SIGNS[kind.role]
        if sign and kind.positive_from is not None and event.value is not None:
            sign = 1 if event.value >= kind.positive_from else -1
        return sign, kind.weight


class Moment(Struct, frozen=True, gc=False):
    """When an event happened in the life of its user.

    Attributes
    ----------
    time
        The event's time, epoch milliseconds.
    visit
        Ordinal of the session it belongs to, counted from 1.
    sign, weight
        Role of an interaction; 0 and 0.0 for every other event.
    """

    time: int
    visit: int
    sign: int = 0
    weight: float = 0.0


class Part(Struct, omit_defaults=True):
    """One feature's state: starts empty, changes by its fold alone.

    A subclass keeps bounded state and is registered by being a field of
    :class:`features.session.Session`.

    Attributes
    ----------
    heeds
        The kinds of events that it must be told of.
    """

    heeds: ClassVar[tuple[type[Event], ...]] = ()

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Change this state by one event; no clock, no randomness, no I/O."""
        raise msgspec.ValidationError(f"{type(self).__name__} has no fold")  # pragma: no cover
