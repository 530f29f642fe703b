"""What a micro-batch teaches: questions taken before each event, and what came of them.

The personalize consumer notes every event here before it is folded in. Then
all questions are answered by the sources at once, and the learners of the
partitions are taught in event order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from features.contexts import Meaning, Question, ask, meaning_of, owned_before
from features.parts.base import Moment
from features.session import Session
from features.shown import ShownBefore, shown_before
from models.draw import chance
from models.engine import Chunk, Engine
from models.learner import Learner
from models.open_list import OpenList
from models.pairs import Pairs
from models.sources.base import Positive
from stream.events import Event, Interaction, Merge, Ranking

__all__ = ["EARLY", "Click", "Lessons", "Mode", "Observer", "Shown", "Taken", "Tick"]

F32 = NDArray[np.float32]
Place = tuple[int, int]

Mode: TypeAlias = Literal["strict", "order", "stale"]
"""What a question knows of its user: what happened at earlier times; all that is earlier in
the log; what was known at an earlier moment that the observer chose."""

HISTORY = 20
"""Items before a positive that the sources learn from."""


EARLY: Final = 5000
"""First positives, over all partitions, that are all learned from; later ones ever more
sparingly, until ``blend.sample`` of them are: who knows little has more to learn."""


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
    """A shown list, what its user was shown before, and the question it answers."""

    place: Place
    time: int
    user: str
    name: str
    items: list[str]
    rows: list[int]
    before: ShownBefore
    question: int
    opened: OpenList | None = None


@dataclass(slots=True)
class Took:
    """A positive for the sources to learn from, and whether the user had the item already."""

    place: Place
    positive: Positive
    repeat: bool


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


class Observer(Protocol):
    """Who watches the predictions before they are learned from: the replay's evaluation."""

    def watches(self, time_ms: int, place: Place | None = None) -> bool:
        """Tell whether an event of this time, a positive at this place, is watched."""
        ...

    def stale(self, user: str) -> Session | None:
        """Return an older state of a user that is to be asked as well; None asks no more."""
        ...

    def taken(self, engine: Engine, chunk: Chunk, taken: Sequence[Taken]) -> None:
        """Look at the predictions for the items taken in a chunk."""
        ...

    def closed(self, shown: OpenList, taken: Sequence[bool]) -> None:
        """Look at a shown list that has closed."""
        ...


@dataclass(slots=True)
class Lessons:
    """One micro-batch's lessons; make a new one for each.

    Parameters
    ----------
    engine
        Asks the sources and scores.
    learners
        Of the partitions that its events come from; what they have learned already is left out.
    observer
        Who watches; None in a live run.
    early
        First positives of a partition that are all learned from.
    """

    engine: Engine
    learners: Mapping[int, Learner]
    observer: Observer | None = None
    early: float = EARLY
    questions: list[Question] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    positives: list[Took] = field(default_factory=list)
    _asked: dict[tuple[Mode, str, int], int] = field(default_factory=dict)
    _counts: dict[int, int] = field(default_factory=dict)
    _meaning: Meaning = field(init=False)

    def __post_init__(self) -> None:
        self._meaning = meaning_of(self.engine.settings)
        self._counts = {at: learner.positives for at, learner in self.learners.items()}

    def note(self, before: Session, event: Event, moment: Moment, place: Place) -> None:
        """Note an event, given the user's state before it is folded in.

        A merge is none that anybody did here and now: it came when another partition got to it.
        """
        if isinstance(event, Merge):
            return
        time, user = moment.time, before.user
        self.steps.append(Tick(place, user, time))
        if isinstance(event, Ranking) and event.id and event.items:
            names = [shown.id for shown in event.items]
            rows = [self.engine.world.catalogue.ensure(name) for name in names]
            question = self._ask(before, moment)
            shown = shown_before(before, self.engine.world.catalogue)
            name = _name(user, event.id)
            self.steps.append(Shown(place, time, user, name, names, rows, shown, question))
        elif isinstance(event, Interaction) and moment.sign > 0:
            self._note_positive(before, event, moment, place)

    def note_gone(self, user: str, place: Place) -> None:
        """Note that a visitor turned out to be somebody, or that a user is forgotten."""
        self.steps.append(Gone(place, user))

    def _note_positive(
        self, before: Session, event: Interaction, moment: Moment, place: Place
    ) -> None:
        engine, time = self.engine, moment.time
        row = engine.world.catalogue.ensure(event.item)
        if event.ranking is not None:
            name = _name(before.user, event.ranking)
            self.steps.append(Click(place, name, event.item))
        learn = self._draw(place)
        watcher = self.observer
        if watcher is not None and not watcher.watches(time, place):
            watcher = None
        if learn or watcher is not None:
            user, question = before.user, self._ask(before, moment)
            self.steps.append(Taken(place, time, user, row, question, "order", learn))
            if before.as_of.event_time >= time:
                question = self._ask_once("strict", before, moment)
                self.steps.append(Taken(place, time, user, row, question, "strict", learn))
            elif watcher is not None:
                self.steps.append(Taken(place, time, user, row, question, "strict", False))
            if watcher is not None and (then := watcher.stale(user)) is not None:
                question = self._ask_once("stale", then, moment)
                self.steps.append(Taken(place, time, user, row, question, "stale", False))
        repeat = event.item in before.owned.items
        self.positives.append(Took(place, self._positive(before, row, moment), repeat))

    def _positive(self, before: Session, row: int, moment: Moment) -> Positive:
        """Return what the sources learn from: the item, what preceded it, what was owned."""
        catalogue = self.engine.world.catalogue
        past = before.history
        latest = zip(past.items[: -HISTORY - 1 : -1], past.signs[: -HISTORY - 1 : -1], strict=True)
        history = tuple(catalogue.ensure(item) for item, sign in latest if sign > 0)
        owned = before.owned.items
        entry = owned.get(catalogue.ids[row])
        first = not owned or next(reversed(owned.values()))[5] != moment.visit
        anew = entry is not None and entry[5] != moment.visit
        if not first and not anew:
            return Positive(row, history)
        entries = owned_before(before, moment.time, catalogue, moment.visit)
        again = next((e for e in entries if e[0] == row), None) if anew else None
        return Positive(row, history, tuple(entries) if first else (), again)

    def _draw(self, place: Place) -> bool:
        """Count a positive, and tell whether it was drawn for learning: in every run alike."""
        partition, offset = place
        if offset <= self.learners[partition].offset:
            return False
        self._counts[partition] += 1
        blend = self.engine.settings.blend
        share = max(blend.sample, self.early / self._counts[partition])
        return chance(blend.seed, place) < share

    def _ask(self, session: Session, moment: Moment) -> int:
        catalogue = self.engine.world.catalogue
        question = ask(session, moment.time, catalogue, self._meaning, visit=moment.visit)
        self.questions.append(question)
        return len(self.questions) - 1

    def _ask_once(self, mode: Mode, session: Session, moment: Moment) -> int:
        """Ask without what happened at the same time; for all positives of that time once."""
        key = (mode, session.user, moment.time)
        if key not in self._asked:
            catalogue, now = self.engine.world.catalogue, moment.time
            self.questions.append(
                ask(session, now, catalogue, self._meaning, visit=moment.visit, before=now)
            )
            self._asked[key] = len(self.questions) - 1
        return self._asked[key]

    def study(self) -> None:
        """Answer all questions, show the predictions to the observer, keep the features."""
        asking = [step for step in self.steps if isinstance(step, Taken | Shown)]
        asking.sort(key=lambda step: step.question)
        numbers = [step.question for step in asking]
        for chunk in self.engine.look(self.questions):
            first = bisect_left(numbers, chunk.first)
            mine = asking[first : bisect_left(numbers, chunk.first + len(chunk))]
            taken = [step for step in mine if isinstance(step, Taken)]
            if self.observer is not None:
                watched = [s for s in taken if self.observer.watches(s.time, s.place)]
                self.observer.taken(self.engine, chunk, watched)
            self._study_taken(chunk, [step for step in taken if step.learn])
            self._study_shown(chunk, [step for step in mine if isinstance(step, Shown)])

    def _study_taken(self, chunk: Chunk, taken: list[Taken]) -> None:
        """Keep the features of all candidates of the questions that are learned from."""
        if not taken:
            return
        retrieval = chunk.retrieval
        rows = np.array([s.question - chunk.first for s in taken], dtype=np.int32)
        items = np.array([s.item for s in taken], dtype=np.int32)
        pairs = retrieval.candidates(np.unique(rows))
        x = self.engine.signals.of(retrieval, retrieval.see(pairs), chunk.segment)
        lift = retrieval.lift(Pairs(rows, items)).T
        bounds = np.searchsorted(pairs.row, [rows, rows + 1]).T
        for place, (step, (first, end)) in enumerate(zip(taken, bounds.tolist(), strict=True)):
            step.segment, step.lift = int(chunk.segment[rows[place]]), lift[place]
            found = np.flatnonzero(pairs.item[first:end] == step.item)
            if len(found):
                step.x, step.chosen = x[first:end], int(found[0])

    def _study_shown(self, chunk: Chunk, shown: list[Shown]) -> None:
        if not shown:
            return
        lists = [np.array(step.rows, dtype=np.int32) for step in shown]
        asked = np.array([step.question - chunk.first for step in shown], dtype=np.int32)
        counts = [len(rows) for rows in lists]
        pairs = Pairs(np.repeat(asked, counts), np.concatenate(lists))
        view = chunk.retrieval.see(pairs)
        x_all = self.engine.signals.of(chunk.retrieval, view, chunk.segment)
        segments = chunk.segment[asked]
        odds, x = self.engine.score_lists(
            x_all, segments, [(rows, step.before) for rows, step in zip(lists, shown, strict=True)]
        )
        ends = np.cumsum(counts).tolist()
        for step, rows, group, end in zip(shown, lists, segments.tolist(), ends, strict=True):
            # copies: a list that stays open long is not to keep those of all others
            mine, said = x[end - len(rows) : end].copy(), odds[end - len(rows) : end].copy()
            segment = np.full(len(rows), group, dtype=np.int32)
            step.opened = OpenList(
                *(step.time, step.place[1], step.user, step.items, rows, step.before),
                *(mine, segment, said),
            )

    def teach(self) -> None:
        """Teach each partition's learner, in event order; what it has learned already is left out.

        A batch that is handled again after a crash may be known to the learner
        though not to all of its users' states: the learner is written first. And
        what this process learned from a batch that Redis then refused is known to
        the engine though not to the learner, which is read again.
        """
        known = {partition: learner.offset for partition, learner in self.learners.items()}
        taught = dict(self.engine.taught)
        for step in self.steps:
            partition, offset = step.place
            if offset > known[partition]:
                self._teach(self.learners[partition], step, offset > taught.get(partition, -1))
        self.engine.learn_lists()
        self.engine.learn(
            [
                (took.positive, took.repeat)
                for took in self.positives
                if took.place[1] > max(known[took.place[0]], taught.get(took.place[0], -1))
            ]
        )
        for partition, learner in self.learners.items():
            learner.count(self._counts[partition])
            self.engine.taught[partition] = max(taught.get(partition, -1), learner.offset)

    def _teach(self, learner: Learner, step: Step, fresh: bool) -> None:
        if isinstance(step, Tick):
            learner.advance(step.user, step.time, step.place[1])
        elif isinstance(step, Click):
            learner.take(step.name, step.item)
        elif isinstance(step, Gone):
            learner.let_go(step.user, step.place[1])
        elif isinstance(step, Shown):
            assert step.opened is not None, "studied before it is taught"
            learner.show(step.name, step.opened)
        elif step.lift is not None:
            if fresh:
                segment = np.array([step.segment], dtype=np.int32)
                self.engine.signals.mixture.learn(step.lift[None], segment)
            learner.choose("next", step.x, step.segment, step.chosen)


def _name(user: str, ranking: str) -> str:
    """Return the name of a user's shown list: another user's may have the same id."""
    return f"{user}:{ranking}"
