"""The consumer that turns what a user does into his next recommendations."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consumers.kept import KeptSessions
from consumers.learners import KeptLearners
from consumers.turns import STATES, TOMBSTONES
from consumers.view import LiveView
from features.card import AsOf
from features.contexts import Question, ask, meaning_of
from features.parts.base import Rules
from features.session import Session, admit, advance, bad_merge, encode_session, is_new, merge_of
from features.tombstone import encode_tombstone, is_shell, life_of
from models.activity import ActivityWriter
from models.answer import Answer, encode_answer
from models.engine import Chunk, Engine
from models.explain import compose
from models.lessons import Lessons, Observer
from models.watermark import Watermark
from stream import metrics
from stream.clock import Clock
from stream.deadletters import dead_letter
from stream.events import (
    BadRecord,
    Delete,
    Event,
    Identify,
    Item,
    Merge,
    decode,
    encode,
    partition_key,
)
from stream.keys import DEFAULT_USER, Keys
from stream.loop import GivenUp
from stream.records import Outgoing, Record, Sink, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain, Stamped, Writes

__all__ = ["Personalize"]

log = logging.getLogger(__name__)

DEFAULT_EVERY_MS = 10_000
"""Event time between two refreshes of the list for unknown users; most users tell it."""

Arrived = tuple[Record, Event]


@dataclass(slots=True)
class Asked:
    """The questions that get lists, whose they are, and the newest event time among them."""

    questions: list[Question] = field(default_factory=list)
    users: list[tuple[str, AsOf]] = field(default_factory=list)
    newest: int = 0


class Served(Protocol):
    """What keeps the engine's Transformer the one that was promoted last."""

    @property
    def version(self) -> str:
        """The version that is served; "" where there is none."""
        ...

    @property
    def versions(self) -> dict[str, str]:
        """Each kind of model that is followed, and the version in use; "" where none is."""
        ...

    def begin(self) -> None:
        """Load what is current, before the first batch."""
        ...

    def look(self) -> None:
        """Go a step towards what is current, without waiting; between two batches."""
        ...

    def close(self) -> None:
        """End what is done beside."""
        ...


class Personalize:
    """Folds users' states, learns from what they do, writes what to show them next.

    Parameters
    ----------
    settings
        All settings.
    store
        Where states are read from; writes go through the checkpoint.
    view
        The catalogue and the statistics as this process sees them.
    clock
        Stamps the answers, and refuses events from the future; None follows the events.
    observer
        Watches predictions before they are learned from.

    Attributes
    ----------
    served
        Keeps the Transformer the one that was promoted last; None, as in a replay, leaves it.
    sink
        Where records for others go as soon as they are known, while lists are made; None
        leaves them to the checkpoint.
    """

    name = "personalize"

    def __init__(
        self,
        settings: Settings,
        store: Store,
        view: LiveView,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.topics = (settings.kafka.events,)
        self.engine = Engine(settings, view.world)
        self._settings, self._view, self._clock, self._observer = settings, view, clock, observer
        self._keys = Keys(settings.redis.prefix)
        self._ttl_ms = int(settings.redis.ttl_days * 86_400_000)
        self._tombstone_ms = int(settings.privacy.tombstone_days * 86_400_000)
        self._rules = Rules(settings.session, settings.interactions)
        self._meaning = meaning_of(settings)
        self._sessions = KeptSessions(store, self._keys, settings.session.cached)
        self.learners = KeptLearners(settings, store, self.engine, observer)
        self.served: Served | None = None
        self.sink: Sink | None = None
        self._most = settings.limits.user_events_per_minute or sys.maxsize
        self._time = Watermark()
        self._default_at = 0
        self._default_short = False

    def assigned(self, partitions: Sequence[TopicPartition]) -> None:
        """Load the catalogue and the partitions' learners."""
        self._sessions.clear()
        self._view.begin()
        self.learners.begin(partitions, self._view.event_partitions)
        if self.served is not None:
            self.served.begin()

    def revoked(self, partitions: Sequence[TopicPartition]) -> None:
        """Drop states and learners: they may change elsewhere from now on."""
        self._sessions.clear()
        self.learners.drop(partitions)

    def committed(self) -> None:
        """Keep the cache of states within its bound."""
        self._sessions.trim()

    def handle(self, records: Sequence[Record]) -> Writes:
        """Fold a batch, learn from it, and answer every user it touches."""
        writes = Writes()
        with metrics.step("decode"):
            events = self._decode(records, writes)
        with metrics.step("read"):
            self._view.refresh()
            self.learners.hear(self._view.event_partitions)
            if self.served is not None:
                self.served.look()
            self._sessions.load([partition_key(event) for _, event in events])
        partitions = max(1, self._view.event_partitions)
        lessons = Lessons(self.engine, self.learners.held, self._observer, partitions)
        with metrics.step("fold"):
            touched, stones = self._fold(events, lessons, writes)
            self._send(writes)
        with metrics.step("study"):
            asked = self._ask(touched)
            chunk = lessons.study(asked.questions)
        with metrics.step("learn"):
            self.learners.teach(lessons)
        with metrics.step("answer"):
            answers = self._answer(asked, chunk)
        with metrics.step("encode"):
            self.learners.checkpoint(writes)
            writes.stamped += stones  # before the states: what they stand for ends sooner
            self._write(touched, answers, writes)
        return writes

    def _decode(self, records: Sequence[Record], writes: Writes) -> list[Arrived]:
        limit = self._settings.batch.max_bytes
        latest = None
        if self._clock is not None:
            latest = self._clock.now_ms() + self._settings.batch.future_s * 1000
        events: list[Arrived] = []
        for record in records:
            event = decode(record.value, max_bytes=limit)
            if not isinstance(event, BadRecord):
                event = _fit(event, record, latest)
            if isinstance(event, BadRecord):
                writes.produced.append(dead_letter(event, record, self._settings.kafka.deadletters))
            else:
                events.append((record, event))
        return events

    def _fold(
        self, events: Sequence[Arrived], lessons: Lessons, writes: Writes
    ) -> tuple[dict[str, Session], list[Stamped]]:
        """Fold the events in order; note lessons and transitions before each.

        A consumer that did not know yet that its partition was given away may have folded
        some of them: then what it learned is in Redis, and not in memory here.

        Returns the states that were touched, and the tombstones of who was forgotten.
        """
        activity = self._activity()
        touched: dict[str, Session] = {}
        stones: list[Stamped] = []
        elsewhere: dict[int, int] = {}
        busy = 0  # of users that go too fast: remembered, but nobody's example
        # From batch to batch the time may turn back: the first one heard may have run ahead.
        self._time = Watermark(self._time.state())
        for record, event in events:
            place = (record.partition, record.offset)
            session = self._sessions[partition_key(event)]
            touched[session.user] = session
            self._time.hear(session.user, int(event.timestamp))
            gone = isinstance(event, Identify | Delete)
            if not (new := is_new(session, *place)):
                elsewhere[record.partition] = record.offset
            if isinstance(event, Identify) and new:
                writes.produced += self._hand_over(session, event)
            if gone:
                lessons.note_gone(session.user, place)
                metrics.note_gone(session.user)
            found = isinstance(event, Identify) and not session.forgotten
            moment = admit(session, event, place, self._rules)
            if gone and new:
                stones.append(self._bury(session, place, found))
            if moment is None:
                metrics.count("skipped")
                continue
            if session.pace.at(moment.time) < self._most:
                lessons.note(session, event, moment, place)
                activity.add(session, event, moment, place)
            else:
                busy += 1
            advance(session, event, moment, place, self._rules)
        if self.learners.overtaken(elsewhere):
            log.warning("another process has gone on with a partition; what it wrote is read again")
            raise GivenUp
        writes.produced += activity.drain()
        self._note_busy(busy, touched)
        return touched, stones

    def _send(self, writes: Writes) -> None:
        """Send what others are told, which the checkpoint waits for.

        Should the batch be given up, they are told again with it, and know that.
        """
        if self.sink is not None:
            for record in writes.produced:
                self.sink.send(record)
            writes.ahead = len(writes.produced)

    def _activity(self) -> ActivityWriter:
        topic, partitions = self._settings.kafka.transitions, self._view.transition_partitions
        return ActivityWriter(self._settings.neighbours, topic, partitions)

    def _note_busy(self, events: int, touched: Mapping[str, Session]) -> None:
        """Count the events of users that go too fast, and say who they are."""
        if events:
            metrics.count("busy", events)
            for session in filter(self._is_busy, touched.values()):
                metrics.note_busy(session.user, session.pace.events)

    def _bury(self, session: Session, place: tuple[int, int], found: bool) -> Stamped:
        """Return what stays of a user who is forgotten, or was found to be another."""
        key, stone = self._keys.forgotten(session.user), encode_tombstone(session, found=found)
        return Stamped(key, stone, *place, self._tombstone_ms, TOMBSTONES)

    def _is_busy(self, session: Session) -> bool:
        return session.pace.events > self._most

    def _hand_over(self, session: Session, event: Identify) -> list[Outgoing]:
        """Re-publish an anonymous session under the key of the user he turned out to be."""
        if (merge := merge_of(session, event)) is None:
            return []
        return [Outgoing(self._settings.kafka.events, encode(merge), key=event.user.encode())]

    def _ask(self, touched: Mapping[str, Session]) -> Asked:
        """Return what everyone touched will be answered, and now and then everybody else.

        Who is gone gets a list, too: that of somebody of whom nothing is known. A list that is
        there refuses an older one; where there was none, a consumer that has lost its partition
        and does not know it yet would put one of before.
        """
        asking = (s for s in touched.values() if s.events or is_shell(s))
        known = sorted(asking, key=self._is_busy)
        catalogue, asked = self._view.world.catalogue, Asked()
        for session in known:
            asked.questions.append(ask(session, session.as_of.event_time, catalogue, self._meaning))
            asked.users.append((session.user, session.as_of))
        newest = max((s.as_of for s in touched.values()), key=lambda a: a.event_time, default=None)
        if newest is None:
            return asked
        asked.newest = newest.event_time
        # Not by the newest time: one clock that runs ahead would put the next list off for long.
        due = abs(self._time.now - self._default_at) >= DEFAULT_EVERY_MS
        if due or self._default_short:
            self._default_at = self._time.now
            nobody = Session(as_of=newest, user=DEFAULT_USER)
            asked.questions.append(ask(nobody, self._time.now, catalogue, self._meaning))
            asked.users.append((DEFAULT_USER, newest))
        return asked

    def _answer(self, asked: Asked, chunk: Chunk | None) -> list[Answer]:
        """Return the lists; where the sources were asked before, what they said is given."""
        answers: list[Answer] = []
        now = self._clock.now_ms() if self._clock is not None else asked.newest
        version = self._version()
        if not len(self._view.world.catalogue):  # nothing to choose from yet
            self._default_short = bool(asked.users) or self._default_short
            return [Answer(as_of, user, [], version, [], now) for user, as_of in asked.users]
        chunks = self.engine.look(asked.questions) if chunk is None else iter((chunk,))
        for one in chunks:
            mine = asked.users[len(answers) : len(answers) + len(one.listed)]
            answers += compose(self.engine, one, mine, version, now)
        for answer in answers:
            if answer.user == DEFAULT_USER:
                most = min(self._settings.recommend.length, len(self._view.world.catalogue))
                self._default_short = len(answer.items) < most
        return answers

    def _version(self) -> str:
        """Return what the lists were made with: the blend, and the Transformer where one is."""
        served = "" if self.served is None else self.served.version
        return f"{self.learners.version}+{served}" if served else self.learners.version

    def _write(
        self, touched: Mapping[str, Session], answers: Sequence[Answer], writes: Writes
    ) -> None:
        for user, session in touched.items():
            place = (session.as_of.partition, session.as_of.offset)
            key, raw = self._keys.session(user), encode_session(session)
            life = life_of(session, self._ttl_ms)
            writes.stamped.append(Stamped(key, raw, *place, life, STATES))
        for answer in answers:
            raw, as_of = encode_answer(answer), answer.as_of
            key = self._keys.recs(answer.user)
            if answer.user == DEFAULT_USER:
                writes.plain.append(Plain(key, raw, self._ttl_ms))
            else:
                place = (as_of.partition, as_of.offset)
                life = life_of(touched[answer.user], self._ttl_ms)
                writes.stamped.append(Stamped(key, raw, *place, life, STATES))


def _fit(event: Event, record: Record, latest: float | None) -> Event | BadRecord:
    """Refuse events that do not belong here, come from the future, or cannot be folded."""
    if isinstance(event, Item) or (isinstance(event, Delete) and event.item is not None):
        return BadRecord("misplaced", "event", "items belong on the catalogue topic", record.value)
    if latest is not None and event.timestamp > latest:
        return BadRecord("future", "timestamp", "too far ahead of the clock", record.value)
    if isinstance(event, Merge):
        return bad_merge(event, record.value) or event
    return event
