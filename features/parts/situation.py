"""Where a user is: his last query, his device and place, what is known of him."""

from __future__ import annotations

from typing import ClassVar, Final

from features.parts.base import Moment, Part, Rules, Whole
from stream.events import Event, Field, Interaction, Ranking, Search, User

__all__ = ["MAX_PROFILE", "Situation"]

CONTEXT: Final = frozenset(
    {"device", "platform", "country", "place", "city", "language", "referer"}
)
MAX_PROFILE: Final = 32
MAX_QUERY: Final = 512


class Situation(Part):
    """The latest query, context and profile.

    Attributes
    ----------
    query, query_time
        Last query (cut to 512 characters) and its time in epoch milliseconds.
    context
        Latest text of the fields device, platform, country, place, city,
        language and referer of any event.
    profile
        Fields of ``user`` events; at most 32 are kept.
    """

    heeds: ClassVar = (Interaction, Ranking, Search, User)

    query: str = ""
    query_time: Whole = 0
    context: dict[str, str] = {}
    profile: dict[str, bool | float | str | list[str | float]] = {}

    def fold(self, event: Event, moment: Moment, rules: Rules) -> None:
        """Keep the latest of each."""
        if isinstance(event, User):
            self._learn(event.fields)
            return
        if not (event.fields or isinstance(event, Search)):
            return
        query = _query_of(event)
        if query and moment.time >= self.query_time:
            self.query, self.query_time = query[:MAX_QUERY], moment.time
        for field in event.fields:
            if field.name in CONTEXT and isinstance(field.value, str):
                self.context[field.name] = field.value

    def _learn(self, fields: list[Field]) -> None:
        for field in fields:
            if field.value is None:
                self.profile.pop(field.name, None)
            elif field.name in self.profile or len(self.profile) < MAX_PROFILE:
                self.profile[field.name] = field.value


def _query_of(event: Event) -> str:
    """Return what was searched for: a search, or a list's (metarank's) field ``query``, if any."""
    if isinstance(event, Search):
        return event.query
    if isinstance(event, (Ranking, Interaction)):
        for field in event.fields:
            if field.name == "query" and field.value:
                return str(field.value)
    return ""
