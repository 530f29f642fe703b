"""One pass over an event log that counts what :mod:`rillet.validate` judges.

Memory grows with the distinct ids in the log, not with its events; ids of
records are kept as 64-bit hashes.
"""

from __future__ import annotations

from array import array
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import Final

from stream.events import (
    BadRecord,
    Delete,
    Event,
    Identify,
    Interaction,
    Item,
    Ranking,
    Search,
    User,
    decode,
)
from stream.settings import Settings

__all__ = ["Tally", "Survey"]

FIRST: Final = 20
"""So many line numbers are kept of each finding."""
REMEMBERED: Final = 50_000
"""Rankings whose content is remembered, to compare clicks with what was shown."""


@dataclass
class Tally:
    """How often something was found, and the first lines where."""

    count: int = 0
    lines: list[int] = field(default_factory=list)
    details: Counter[str] = field(default_factory=Counter)

    def add(self, line: int, detail: str = "", times: int = 1) -> None:
        """Count a finding at a line of the log."""
        self.count += times
        if len(self.lines) < FIRST:
            self.lines.append(line)
        if detail:
            self.details[detail] += times


class Survey:
    """Counts over a log; feed it with :meth:`take`, end with :meth:`finish`.

    Parameters
    ----------
    settings
        Say which types are positive, how long a session's silence is, and
        which item fields are text.
    now_ms
        The present, against which events from the future are told.
    """

    def __init__(self, settings: Settings, now_ms: int) -> None:
        self.settings = settings
        self.latest_allowed = now_ms + int(settings.batch.future_s * 1000)
        self.kinds: Counter[str] = Counter()
        self.types: Counter[str] = Counter()
        self.bad, self.bad_lines = Tally(), list[tuple[int, str, str, str]]()
        self.future, self.duplicates = Tally(), Tally()
        self.late, self.latest_by_ms = Tally(), 0
        self.stale_items, self.no_text = Tally(), Tally()
        self.unlisted, self.empty_lists = Tally(), Tally()
        self.wrong_user, self.not_shown = Tally(), Tally()
        self.no_id = 0
        self.tied = self.followed = self.repeats = self.positives = self.propensities = 0
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self._seen_ids: set[int] = set()
        self._pairs: set[int] = set()
        self.item_times: dict[str, int] = {}
        self.item_uses: dict[str, list[int]] = {}
        """item -> [times used, first line]"""
        self.rankings: dict[str, bool] = {}
        """ranking -> whether something in it was clicked"""
        self.asked: dict[str, list[int]] = {}
        """ranking that no earlier record announced -> [times named, first line]"""
        self._recent: OrderedDict[str, tuple[str, frozenset[str]]] = OrderedDict()
        self.actors: dict[str, list[int]] = {}
        """actor -> [interactions, last time, sessions, interactions in this session]"""
        self.session_lengths = array("I")
        self._newest = 0

    def take(self, line: int, record: bytes) -> None:
        """Count one line of the log."""
        event = decode(record, max_bytes=self.settings.batch.max_bytes)
        if isinstance(event, BadRecord):
            self.kinds["bad"] += 1
            self.bad.add(line, f"{event.reason}: {event.field or 'the whole record'}")
            if len(self.bad_lines) < FIRST:
                self.bad_lines.append((line, event.reason, event.field, event.message))
            return
        kind = type(event).__name__.lower()
        self.kinds[kind] += 1
        self._count_id(line, kind, event)
        self._count_time(line, event)
        match event:
            case Item():
                self._item(line, event)
            case Ranking():
                self._ranking(line, event)
            case Interaction():
                self._interaction(line, event)
            case Identify():
                self._identify(event)
            case _:
                pass

    def finish(self) -> None:
        """Close the sessions that are still open; call it once, after the last line."""
        for actor in self.actors.values():
            if actor[3]:
                self.session_lengths.append(actor[3])

    def _count_id(self, line: int, kind: str, event: Event) -> None:
        if event.id is None:
            self.no_id += 1
            return
        mark = hash((kind, event.tenant, event.id))
        if mark in self._seen_ids:
            self.duplicates.add(line, kind)
        self._seen_ids.add(mark)

    def _count_time(self, line: int, event: Event) -> None:
        time = int(event.timestamp)
        self.first_ms = time if self.first_ms is None else min(self.first_ms, time)
        self.last_ms = time if self.last_ms is None else max(self.last_ms, time)
        if time > self.latest_allowed:
            self.future.add(line)
            return  # one wild clock must not make everything after it look late
        if isinstance(event, Item | User) or (isinstance(event, Delete) and event.item):
            return  # the catalogue has a topic of its own; only deeds must be in order
        if time < self._newest:
            self.late.add(line)
            self.latest_by_ms = max(self.latest_by_ms, self._newest - time)
        self._newest = max(self._newest, time)

    def _item(self, line: int, event: Item) -> None:
        time = int(event.timestamp)
        known = self.item_times.get(event.item)
        if known is not None and time < known:
            self.stale_items.add(line, event.item)
        self.item_times[event.item] = max(time, known or 0)
        wanted = self.settings.encoder.fields
        if not any(one.name in wanted and one.value for one in event.fields):
            self.no_text.add(line, event.item)

    def _use(self, line: int, item: str) -> None:
        use = self.item_uses.get(item)
        if use is None:
            self.item_uses[item] = [1, line]
        else:
            use[0] += 1

    def _ranking(self, line: int, event: Ranking) -> None:
        if not event.items:
            self.empty_lists.add(line)
        for shown in event.items:
            self._use(line, shown.id)
        self.propensities += any(shown.propensity is not None for shown in event.items)
        if event.id is None:
            return
        self.rankings.setdefault(event.id, False)
        self._recent[event.id] = (event.actor, frozenset(shown.id for shown in event.items))
        if len(self._recent) > REMEMBERED:
            self._recent.popitem(last=False)

    def _interaction(self, line: int, event: Interaction) -> None:
        self.types[event.type] += 1
        self._use(line, event.item)
        rule = self.settings.interactions.get(event.type)
        if rule is None:
            self.unlisted.add(line, event.type)
        positive = rule is not None and rule.role == "positive"
        if rule is not None and rule.positive_from is not None:
            positive = (event.value or 0.0) >= rule.positive_from
        if positive:
            self.positives += 1
            pair = hash((event.actor, event.item))
            self.repeats += pair in self._pairs
            self._pairs.add(pair)
        if event.ranking:
            self._join(line, event, event.ranking, positive)
        self._visit(event)

    def _join(self, line: int, event: Interaction, name: str, positive: bool) -> None:
        """Compare an interaction with the list it says it came from."""
        if name not in self.rankings:
            asked = self.asked.setdefault(name, [0, line])
            asked[0] += 1
            return
        if positive:
            self.rankings[name] = True
        recent = self._recent.get(name)
        if recent is None:
            return
        actor, shown = recent
        if actor != event.actor:
            self.wrong_user.add(line)
        if event.item not in shown:
            self.not_shown.add(line)

    def _visit(self, event: Interaction) -> None:
        time = int(event.timestamp)
        actor = self.actors.get(event.actor)
        if actor is None:
            self.actors[event.actor] = [1, time, 1, 1]
            return
        gap = time - actor[1]
        self.followed += 1
        self.tied += gap == 0
        actor[0] += 1
        actor[1] = time
        if gap > self.settings.session.gap_s * 1000:
            self.session_lengths.append(actor[3])
            actor[2] += 1
            actor[3] = 0
        actor[3] += 1

    def _identify(self, event: Identify) -> None:
        """Count an anonymous visitor and the user he turns out to be as one."""
        before = self.actors.pop(event.anonymous, None)
        if before is None:
            return
        now = self.actors.get(event.user)
        if now is None:
            self.actors[event.user] = before
            return
        self.session_lengths.append(before[3])
        now[0] += before[0]
        now[2] += before[2]
        now[1] = max(now[1], before[1])

    @property
    def deeds(self) -> int:
        """Return how many records say what users did or asked for."""
        return self.kinds["interaction"] + self.kinds[Search.__name__.lower()]
