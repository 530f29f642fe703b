"""The pure middle: questions in, scored candidates and finished lists out; no I/O, no clock."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from features.contexts import Contexts, Question, build_contexts
from models.arrays import Arrays, pack, pack_names, reading, under, unpack, unpack_names, within
from models.finish import best_of_each, diversify, give_slots, log_sums
from models.head import Head
from models.laid import means
from models.lists import PRIOR as LIST_PRIOR
from models.lists import Closed, ListModel, ShownBefore, taste_of
from models.nearby import LARGE
from models.open_list import OpenList
from models.pairs import Pairs
from models.projection import Centred
from models.retrieval import Retrieval, View, retrieve
from models.scores import Blocked
from models.signals import SEGMENTS, Signals, segment_of
from models.sources.base import Positive, World
from models.sources.registry import build_sources
from stream.settings import Settings

__all__ = ["Chunk", "Engine", "Lists"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

CELLS: Final = 2_000_000
"""Scores that one source may hold at once; larger micro-batches are cut into chunks."""

MOST: Final = 128
"""Questions of a chunk at most, however few items there are."""

LIST_PACE: Final = 0.25
"""Of ``blend.learning_rate``, for the head that learns from lists: each of a list's items is a
step, where a choice among candidates is one."""

FADE: Final = 1 - 1e-4
"""Per positive: the share of repeats is that of the last 10,000."""

REPEAT_FLOOR: Final = 0.05
"""Share of repeats among positives from which `repeats = "auto"` allows them."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some questions, seen by all sources.

    Attributes
    ----------
    first
        Place of the first question in the micro-batch.
    retrieval
        The sources' view of them.
    segment
        (B,) segment of each.
    skip
        How many of them, at the beginning, get no list.
    """

    first: int
    retrieval: Retrieval
    segment: I32
    skip: int = 0

    def __len__(self) -> int:
        """Return the number of questions."""
        return len(self.segment)

    @property
    def listed(self) -> I32:
        """The questions that get lists."""
        return np.arange(self.skip, len(self), dtype=np.int32)


@dataclass(frozen=True, slots=True)
class Lists:
    """Finished lists of B users, best first.

    Attributes
    ----------
    item
        (B, n) item rows, -1 beyond the end.
    chance
        (B, n) chance that it is the candidate which the user takes next.
    part
        (B, e, S) contribution of each source or signal to the scores of the first e.
    """

    item: I32
    chance: F64
    part: F32


class Engine:
    """Sources, signals and the blend's weights over one catalogue.

    Parameters
    ----------
    settings
        All settings.
    world
        Catalogue, statistics, query encoder.

    Attributes
    ----------
    near
        Content vectors, as they are compared.
    learned
        Positives that the sources have learned from.
    taught
        Partition to the offset up to which this process has learned from it, but for the heads.
    """

    def __init__(self, settings: Settings, world: World) -> None:
        self.settings = settings
        self.world = world
        self.near = Centred(world.catalogue, settings.sources.content_axes, world.beside)
        self.sources = build_sources(world, self.near, settings.sources.enabled)
        self.signals = Signals(world, self.sources)
        self.lists = ListModel(world)
        self._closed: list[Closed] = []
        self.list_names = (*self.signals.names, "bias", *self.lists.names)
        heads = self.new_heads()
        self.weights = {name: head.matrix() for name, head in heads.items()}
        self.repeats, self.positives, self.learned = 0.0, 0.0, 0
        self.taught: dict[int, int] = {}

    def new_heads(self) -> dict[str, Head]:
        """Return untaught heads of this engine's features."""
        blend = self.settings.blend
        kinds = {
            "next": (self.signals.names, self.signals.prior),
            "shown": (self.list_names, LIST_PRIOR | {"bias": -2.0}),
        }
        return {
            name: Head(
                names,
                segments=len(SEGMENTS),
                learning_rate=blend.learning_rate * (1 if name == "next" else LIST_PACE),
                l2=blend.l2,
                prior=prior,
                choices=name == "next",
            )
            for name, (names, prior) in kinds.items()
        }

    def look(self, questions: Sequence[Question]) -> Iterator[Chunk]:
        """Ask all sources; yield the micro-batch in chunks that fit in memory.

        Nothing comes where there is no item to ask about.
        """
        if not len(self.world.catalogue):
            return
        step = self.at_once()
        for first in range(0, len(questions), step):
            contexts = build_contexts(questions[first : first + step])
            retrieval = retrieve(
                self.sources, contexts, self._blocked(contexts), self.settings.sources.top
            )
            yield Chunk(first, retrieval, segment_of(contexts))

    def at_once(self) -> int:
        """Return of how many questions :meth:`look` makes one chunk."""
        size = max(1, len(self.world.catalogue))
        return MOST if size >= LARGE else min(MOST, max(1, CELLS // size))

    def _blocked(self, contexts: Contexts) -> Blocked:
        row, item = contexts.excluded.T
        if self.repeats_excluded():
            row = np.concatenate([row, contexts.owned.row])
            item = np.concatenate([item, contexts.owned.item])
        return Blocked(self.world.catalogue.alive, row, item, len(contexts))

    def repeats_excluded(self) -> bool:
        """Tell whether items that a user took already are kept from his list."""
        rule = self.settings.recommend.repeats
        if rule == "auto":
            return self.repeats < REPEAT_FLOOR * self.positives
        return rule == "exclude"

    def score(self, chunk: Chunk, view: View) -> tuple[F64, F32]:
        """Return the scores (M,) and the features (M, F) of pairs of a chunk.

        Chances are proportional to the exponential of a score.
        """
        x = self.signals.of(chunk.retrieval, view, chunk.segment)
        # by all segments' weights: cheaper than to lay each pair's own beside it
        scores = x.astype(np.float64) @ self.weights["next"].T
        return scores[np.arange(len(x)), chunk.segment[view.pairs.row]], x

    def score_lists(
        self,
        x: F32,
        segment: I32,
        shown: Sequence[tuple[I32, ShownBefore]],
        *,
        placed: bool = True,
    ) -> tuple[F64, F32]:
        """Return the log-odds (N,) and the features (N, F) of the items of shown lists.

        Features of the user and the session are centred within each list: what
        raises all of its items alike does not order them.

        Parameters
        ----------
        x
            (N, F) features of their items for their users, list by list.
        segment
            (L,) their users' segments.
        shown
            L lists: the rows of each one's items in shown order, and what its user was
            shown before.
        placed
            Whether that order is known; else nobody has a place.
        """
        counts = np.array([len(rows) for rows, _ in shown])
        x = x - np.repeat(means(x, counts), counts, axis=0)
        constant = np.ones((len(x), 1), dtype=np.float32)
        both = np.concatenate([x, constant, self.lists.features(shown, placed=placed)], axis=1)
        odds = both.astype(np.float64) @ self.weights["shown"].T
        return odds[np.arange(len(x)), np.repeat(segment, counts)], both

    def close_list(self, shown: OpenList, taken: Sequence[bool]) -> None:
        """Note a shown list that has closed, for :meth:`learn_lists`."""
        taste = None if shown.drawn is None else taste_of(shown.drawn.x)
        self._closed.append(Closed(shown.rows, np.array(taken, dtype=bool), shown.before, taste))

    def learn_lists(self) -> None:
        """Let the model of shown lists learn from those that have closed since, in their order.

        All of them count; what their items are worth is learned from those of which something
        was taken.
        """
        closed, self._closed = self._closed, []
        self.lists.count(closed)
        telling = [one for one in closed if one.taken.any()]
        unknown = [(one.rows, one.before) for one in telling if one.taste is None]
        reckoned = iter(self.lists.tastes(unknown))
        self.lists.learn(
            telling, [next(reckoned) if one.taste is None else one.taste for one in telling]
        )

    def finish(self, chunk: Chunk, explained: int | None = None) -> tuple[Lists, View]:
        """Return the finished lists of a chunk's questions, and what the sources say of them.

        Parameters
        ----------
        chunk
            The questions, seen by all sources.
        explained
            How many places e of each list are to be explained, all n where None.

        Returns
        -------
        tuple
            The lists, and the view of their first e places, (B * e), one question after
            the other; what it says beyond a list's end is of no meaning.
        """
        rules = self.settings.recommend
        n_lists = len(chunk.listed)
        view = chunk.retrieval.see(chunk.retrieval.candidates(chunk.listed))
        pairs = Pairs(view.pairs.row - np.int32(chunk.skip), view.pairs.item)
        odds, x = self.score(chunk, view)
        place = best_of_each(pairs, odds, n_lists, min(rules.length, max(1, len(odds))))
        if not len(odds):
            return self._nothing(n_lists), view
        item = np.where(place >= 0, view.pairs.item[place], -1)
        scores = odds[place].astype(np.float32)
        order = diversify(item, scores, self.near.vectors(), rules.diversity)
        place = self._explore(chunk, view, np.take_along_axis(place, order, axis=1))
        part, told = self._credit(chunk, view, x, place[:, :explained])
        there = place >= 0
        sums = log_sums(pairs, odds, n_lists)[:, None]
        chance = np.exp(np.minimum(odds[place] - np.where(there, sums, np.inf), 0))
        item = np.where(there, view.pairs.item[place], -1)
        return Lists(item.astype(np.int32), chance, part), told

    def _credit(self, chunk: Chunk, view: View, x: F32, place: I32) -> tuple[F32, View]:
        """Return what each source or signal contributes to places, and what is said of these.

        Places are (B, e) among the candidates, whose features are given as (M, F).
        """
        chosen = np.maximum(place, 0).ravel()
        listed = view.take(chosen)
        weights = self.weights["next"][chunk.segment[listed.pairs.row]].astype(np.float32)
        part = self.signals.credit(listed, chunk.segment, x[chosen] * weights)
        part = part.reshape(*place.shape, len(self.signals.owners))
        part[place < 0] = 0
        return part, listed

    def _nothing(self, n_rows: int) -> Lists:
        none = np.zeros((n_rows, 0))
        part = np.zeros((n_rows, 0, len(self.signals.owners)), np.float32)
        return Lists(none.astype(np.int32), none, part)

    def _explore(self, chunk: Chunk, view: View, place: I32) -> I32:
        """Give the last slots of full lists to new items that are not listed yet.

        Lists are given as (B, n) places among the candidates.
        """
        names = [source.name for source in self.sources]
        slots = self.settings.recommend.explore
        if "new" not in names or not slots or slots >= place.shape[1]:
            return place
        fresh = chunk.retrieval.top[names.index("new"), chunk.listed]
        row, column = np.nonzero(fresh >= 0)
        new = np.full_like(fresh, -1)
        new[row, column] = view.slots.find(row + chunk.skip, fresh[row, column])
        explored = give_slots(place, new, slots, place.shape[1])
        place[:, -slots:] = np.where(explored >= 0, explored, place[:, -slots:])
        return place

    def state(self) -> bytes:
        """Return all that was learned beside the heads; items by name, for any process."""
        self.learn_lists()
        parts = [under(source.name, source.state()) for source in self.sources]
        arrays: dict[str, Any] = {name: array for part in parts for name, array in part.items()}
        counts = np.array([self.learned, self.repeats, self.positives], dtype=np.float64)
        return pack(
            {
                **arrays,
                "engine.sources": pack_names([source.name for source in self.sources]),
                "engine.items": pack_names(self.world.catalogue.ids),
                "engine.counts": counts,
                "engine.mixture": self.signals.mixture.state(),
                "engine.lists": np.frombuffer(self.lists.state(), dtype=np.uint8),
            }
        )

    def restore(self, raw: bytes) -> None:
        """Continue from :meth:`state`, with the catalogue loaded.

        Raises
        ------
        ModelError
            It is damaged, or was written with other sources or another encoder;
            nothing has changed.
        """
        engine = Engine(self.settings, self.world)
        with reading("the checkpoint of the sources"):
            engine._fill(unpack(raw))
        self.__dict__.update(engine.__dict__)

    @staticmethod
    def experience(raw: bytes) -> int:
        """Return how many positives a checkpoint has learned from.

        Raises
        ------
        ModelError
            It is damaged.
        """
        with reading("the checkpoint of the sources"):
            return int(unpack(raw)["engine.counts"][0])

    def _fill(self, arrays: Arrays) -> None:
        names = unpack_names(arrays["engine.sources"])
        if names != [source.name for source in self.sources]:
            raise ValueError(f"it is of the sources {', '.join(map(str, names))}")
        rows = self.world.catalogue.rows_of(unpack_names(arrays["engine.items"]))
        for source in self.sources:
            source.restore(within(source.name, arrays), rows)
        self.signals.mixture.restore(arrays["engine.mixture"])
        self.lists.restore(arrays["engine.lists"].tobytes())
        learned, self.repeats, self.positives = arrays["engine.counts"].tolist()
        self.learned = int(learned)

    def learn(self, positives: Sequence[tuple[Positive, bool]]) -> None:
        """Let the sources learn from a micro-batch's positives.

        Parameters
        ----------
        positives
            Each with whether its user had the item already; that counts towards the
            share of repeats, which fades over 10,000 of them.
        """
        self.learned += len(positives)
        for _, repeat in positives:
            self.repeats = self.repeats * FADE + repeat
            self.positives = self.positives * FADE + 1
        if positives:
            learned = [positive for positive, _ in positives]
            for source in self.sources:
                source.learn(learned)
