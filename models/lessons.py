"""What a micro-batch teaches: questions taken before each event, and what came of them.

The personalize consumer notes every event here before it is folded in. Then
all questions are answered by the sources at once, and the learners of the
partitions are taught in event order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress
from operator import itemgetter
from typing import Final, Protocol

import numpy as np

from features.contexts import Meaning, Question, ask, meaning_of
from features.owned_before import owned_before, owned_of
from features.parts.base import Moment
from features.session import Session
from features.shown import shown_before
from models.draw import chance
from models.engine import Chunk, Engine
from models.learner import Learner
from models.open_list import OpenList, Scored
from models.pairs import Pairs
from models.sources.base import Positive
from models.steps import Click, Gone, Mode, Place, Shown, Step, Taken, Tick, Took
from stream.events import Event, Interaction, Merge, Ranking

__all__ = ["EARLY", "EARLY_CLICKS", "Lessons", "Observer"]


HISTORY = 20
"""Items before a positive that the sources learn from."""


EARLY: Final = 5000
"""First positives, over all partitions, that are all learned from; later ones ever more
sparingly, until ``blend.sample`` of them are: who knows little has more to learn."""

EARLY_CLICKS: Final = 500
"""Clicks on shown lists until all lists are learned from; later ones as positives are."""


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
    partitions
        How many the events topic has, whoever owns them.
    """

    engine: Engine
    learners: Mapping[int, Learner]
    observer: Observer | None = None
    partitions: int = 1
    questions: list[Question] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    positives: list[Took] = field(default_factory=list)
    _asked: dict[tuple[Mode, str, int], int] = field(default_factory=dict)
    _positives: dict[int, int] = field(init=False)
    _clicks: dict[int, int] = field(init=False)
    _meaning: Meaning = field(init=False)

    def __post_init__(self) -> None:
        self._meaning = meaning_of(self.engine.settings)
        self._positives = {at: learner.positives for at, learner in self.learners.items()}
        self._clicks = {at: learner.clicks for at, learner in self.learners.items()}

    def note(self, before: Session, event: Event, moment: Moment, place: Place) -> None:
        """Note an event, given the user's state before it is folded in.

        A merge is none that anybody did here and now: it came when another partition got to it.
        """
        if isinstance(event, Merge):
            return
        self.steps.append(Tick(place, before.user, moment.time))
        if isinstance(event, Ranking):
            self._note_shown(before, event, moment, place)
        elif isinstance(event, Interaction) and moment.sign > 0:
            self._note_positive(before, event, moment, place)

    def note_gone(self, user: str, place: Place) -> None:
        """Note that a visitor turned out to be somebody, or that a user is forgotten."""
        self.steps.append(Gone(place, user))

    def _note_shown(self, before: Session, event: Ranking, moment: Moment, place: Place) -> None:
        """Note a shown list; the sources are asked of it where it is learned from or watched."""
        if not event.id or not event.items:
            return
        catalogue, items = self.engine.world.catalogue, [shown.id for shown in event.items]
        opened = OpenList(
            time=moment.time,
            offset=place[1],
            user=before.user,
            items=items,
            rows=catalogue.rows_of(items).astype(np.int32),
            before=shown_before(before, catalogue),
        )
        learn = self._draw(place, EARLY_CLICKS, self._clicks[place[0]])
        watched = self.observer is not None and self.observer.watches(moment.time)
        question = self._ask(before, moment) if learn or watched else None
        self.steps.append(Shown(place, _name(before.user, event.id), opened, question, learn))

    def _note_positive(
        self, before: Session, event: Interaction, moment: Moment, place: Place
    ) -> None:
        engine, time = self.engine, moment.time
        row = engine.world.catalogue.ensure(event.item)
        if event.ranking is not None:
            name = _name(before.user, event.ranking)
            self.steps.append(Click(place, name, event.item))
        learn = self._count(place, event.ranking is not None)
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
        self.positives.append(self._took(before, row, event.item, moment, place))

    def _took(self, before: Session, row: int, item: str, moment: Moment, place: Place) -> Took:
        """Note for the sources the item, what preceded it, and what was owned."""
        catalogue = self.engine.world.catalogue
        past = before.history
        positive = [sign > 0 for sign in past.signs[: -HISTORY - 1 : -1]]
        history = catalogue.rows_of(compress(past.items[: -HISTORY - 1 : -1], positive))
        owned = before.owned.items
        entry = owned.get(item)
        first = not owned or next(reversed(owned.values()))[5] != moment.visit
        anew = entry is not None and entry[5] != moment.visit
        return Took(
            place,
            moment.time,
            moment.visit,
            row,
            tuple(history.tolist()),
            repeat=entry is not None,
            owned=owned_of(before, catalogue) if owned and (first or anew) else None,
            first=first,
            anew=anew,
        )

    def _count(self, place: Place, click: bool) -> bool:
        """Count a positive that was not counted before, and tell whether it was drawn."""
        partition, offset = place
        if offset > self.learners[partition].offset:
            self._positives[partition] += 1
            self._clicks[partition] += click
        return self._draw(place, EARLY, self._positives[partition])

    def _draw(self, place: Place, early: int, count: int) -> bool:
        """Tell whether an event was drawn for learning, in every run alike; each is but once.

        Parameters
        ----------
        place
            Where it is.
        early, count
            Up to how many all are drawn, over all partitions, and how many there were in this.
        """
        partition, offset = place
        if offset <= self.learners[partition].offset:
            return False
        blend = self.engine.settings.blend
        share = max(blend.sample, early / self.partitions / max(1, count))
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

    def study(self, later: Sequence[Question] = ()) -> Chunk | None:
        """Answer all questions, show the predictions to the observer, keep the features.

        Parameters
        ----------
        later
            Questions that get lists when all of it was taught.

        Returns
        -------
        Chunk or None
            The lists' questions: where the batch is small the sources are asked of all at
            once, which costs little more than to ask them of a few. None where it is not.
        """
        together = len(self.questions) + len(later) <= self.engine.at_once()
        last = None
        asking = [
            (step.question, step)
            for step in self.steps
            if isinstance(step, Taken | Shown) and step.question is not None
        ]
        asking.sort(key=itemgetter(0))
        numbers = [question for question, _ in asking]
        for chunk in self.engine.look([*self.questions, *(later if together else ())]):
            first = bisect_left(numbers, chunk.first)
            end = bisect_left(numbers, chunk.first + len(chunk))
            mine = [step for _, step in asking[first:end]]
            taken = [step for step in mine if isinstance(step, Taken)]
            if self.observer is not None:
                watched = [s for s in taken if self.observer.watches(s.time, s.place)]
                self.observer.taken(self.engine, chunk, watched)
            self._study_taken(chunk, [step for step in taken if step.learn])
            self._study_shown(chunk, [step for step in mine if isinstance(step, Shown)])
            last = chunk
        if last is None or not later or not together:
            return None
        return replace(last, skip=len(self.questions))

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
        """Keep what is known of the items of the shown lists that were asked of."""
        if not shown:
            return
        lists = [(step.opened.rows, step.opened.before) for step in shown]
        asked = np.array([step.question for step in shown], dtype=np.int32) - chunk.first
        counts = [len(rows) for rows, _ in lists]
        pairs = Pairs(np.repeat(asked, counts), np.concatenate([rows for rows, _ in lists]))
        view = chunk.retrieval.see(pairs)
        x_all = self.engine.signals.of(chunk.retrieval, view, chunk.segment)
        segments = chunk.segment[asked]
        odds, x = self.engine.score_lists(x_all, segments, lists)
        ends = np.cumsum(counts).tolist()
        for step, n, group, end in zip(shown, counts, segments.tolist(), ends, strict=True):
            # copies: a list that stays open long is not to keep those of all others
            mine, said = x[end - n : end].copy(), odds[end - n : end].copy()
            segment = np.full(n, group, dtype=np.int32)
            step.opened.scored = Scored(mine, segment, said, step.learn)

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
        fresh = [
            took
            for took in self.positives
            if took.place[1] > max(known[took.place[0]], taught.get(took.place[0], -1))
        ]
        repeats = [took.repeat for took in fresh]
        self.engine.learn(list(zip(_positives(fresh), repeats, strict=True)))
        for partition, learner in self.learners.items():
            learner.count(self._positives[partition], self._clicks[partition])
            self.engine.taught[partition] = max(taught.get(partition, -1), learner.offset)

    def _teach(self, learner: Learner, step: Step, fresh: bool) -> None:
        if isinstance(step, Tick):
            learner.advance(step.user, step.time, step.place[1])
        elif isinstance(step, Click):
            learner.take(step.name, step.item)
        elif isinstance(step, Gone):
            learner.let_go(step.user, step.place[1])
        elif isinstance(step, Shown):
            learner.show(step.name, step.opened)
        elif step.lift is not None:
            if fresh:
                segment = np.array([step.segment], dtype=np.int32)
                self.engine.signals.mixture.learn(step.lift[None], segment)
            learner.choose("next", step.x, step.segment, step.chosen)


def _positives(tooks: Sequence[Took]) -> Iterator[Positive]:
    """Yield what the sources learn from; what users owned is reckoned for all of them at once."""
    kept = [(took.owned, took.time, took.visit) for took in tooks if took.owned is not None]
    now, visit = np.array([moment for _, *moment in kept], dtype=np.int64).reshape(-1, 2).T
    owned = iter(owned_before([one for one, *_ in kept], now, visit))
    for took in tooks:
        entries = next(owned) if took.owned is not None else []
        again = next((e for e in entries if e[0] == took.item), None) if took.anew else None
        yield Positive(took.item, took.history, tuple(entries) if took.first else (), again)


def _name(user: str, ranking: str) -> str:
    """Return the name of a user's shown list: another user's may have the same id."""
    return f"{user}:{ranking}"
