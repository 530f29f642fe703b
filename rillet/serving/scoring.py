"""Items scored for one question, and what each score is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from features.contexts import Question, build_contexts
from features.shown import ShownBefore
from models.answer import Reason
from models.engine import Chunk, Engine, Lists
from models.explain import reasons_of
from models.pairs import Pairs
from models.retrieval import View, retrieve
from models.scores import Blocked
from models.signals import segment_of
from rillet.serving.relevance import Relevance

__all__ = ["BIAS", "LISTED", "Scored", "look", "scored", "scored_as_list"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

BIAS: Final = "bias"
WORDS: Final = "words"

LISTED: Final = {
    "worth": ("list.rate", "list.relative", "list.shown", "list.doubt", "list.strength"),
    "choices": ("list.taste", "list.retaken", "list.reignored"),
}
"""What lists that were shown say of an item: how it does in them, and what the user did with his.
What else is known of a list is where its items stand, and here they have no places yet."""


def look(engine: Engine, question: Question) -> Chunk:
    """Ask all sources one question; nothing but what is withdrawn is kept from the answer."""
    contexts = build_contexts([question])
    none = np.zeros(0, np.int32)
    blocked = Blocked(engine.world.catalogue.alive, none, none, 1)
    retrieval = retrieve(engine.sources, contexts, blocked, engine.settings.sources.top)
    return Chunk(0, retrieval, segment_of(contexts))


@dataclass(frozen=True, slots=True)
class Scored:
    """Items for one question, best first.

    Attributes
    ----------
    rows
        (n,) catalogue rows.
    score
        (n,) logarithm of the chance that it is this one of all that were scored.
    bias
        What makes them chances: the same for all.
    view, given
        What the sources say of them, and (n, F) what each of the blend's features adds.
    beside
        What else adds to the scores, (n,) each, by name.
    """

    rows: I32
    score: F64
    bias: float
    view: View
    given: F64
    beside: dict[str, F64]

    @classmethod
    def of(cls, view: View, given: F64, beside: dict[str, F64]) -> Self:
        """Score what the sources see by the sum of what is added to each."""
        total = given.sum(axis=1) + sum(beside.values(), np.zeros(len(given)))
        order = np.argsort(-total, kind="stable")
        best = total[order]
        bias = 0.0 - float(best[0] + np.log(np.exp(best - best[0]).sum())) if len(best) else 0.0
        return cls(
            view.pairs.item[order],
            best + bias,
            bias,
            view.take(order),
            given[order],
            {name: value[order] for name, value in beside.items()},
        )

    def first(self, n: int) -> Self:
        """Return the best n alone."""
        rows = self.rows[:n]
        view = self.view.take(np.arange(len(rows)))
        beside = {name: value[:n] for name, value in self.beside.items()}
        return type(self)(rows, self.score[:n], self.bias, view, self.given[:n], beside)

    def explained(
        self, engine: Engine, chunk: Chunk
    ) -> tuple[list[dict[str, float]], list[list[Reason]]]:
        """Return what each score is made of, whose sum it is, and the strongest of that."""
        part = engine.signals.credit(self.view, chunk.segment, self.given.astype(np.float32))
        beside = (
            np.array(list(self.beside.values())).reshape(len(self.beside), len(part)).T.tolist()
        )
        names = (*engine.signals.owners, *self.beside)
        parts = [
            {name: value for name, value in zip(names, (*row, *more), strict=True) if value}
            | {BIAS: self.bias}
            for row, more in zip(part.tolist(), beside, strict=True)
        ]
        told = Lists(self.rows[None], self.score[None], part[None].astype(np.float32))
        found = reasons_of(engine, chunk, told, self.view)[0]
        whole = np.maximum(part, 0).sum(axis=1).tolist()
        with_more = [
            _with_more(reasons, others, dict(zip(self.beside, more, strict=True)))
            for reasons, others, more in zip(found, whole, beside, strict=True)
        ]
        return parts, with_more


def _with_more(reasons: list[Reason], others: float, more: dict[str, float]) -> list[Reason]:
    """Return the reasons with what else spoke for the item, each by its part of everything."""
    more = {name: value for name, value in more.items() if value > 0}
    if not more:
        return reasons
    whole = others + sum(more.values())
    found = [Reason(why.source, round(why.share * others / whole, 2), why.item) for why in reasons]
    found += [Reason(name, round(value / whole, 2)) for name, value in more.items()]
    return sorted((why for why in found if why.share > 0), key=lambda why: -why.share)


def _seen(chunk: Chunk, rows: I32) -> View:
    return chunk.retrieval.see(Pairs(np.zeros(len(rows), np.int32), rows))


def scored(engine: Engine, chunk: Chunk, rows: I32, relevance: Relevance | None) -> Scored:
    """Score items by the chance that they are taken next, best first.

    Parameters
    ----------
    engine, chunk
        Who scores, and the question.
    rows
        (n,) distinct catalogue rows.
    relevance
        What the query says of the catalogue, if there is one.
    """
    view = _seen(chunk, rows)
    x = engine.signals.of(chunk.retrieval, view, chunk.segment)
    given = x * engine.weights["next"][chunk.segment[0]]
    beside = {WORDS: relevance.worth(rows).astype(np.float64)} if relevance is not None else {}
    return Scored.of(view, given, beside)


def scored_as_list(engine: Engine, chunk: Chunk, rows: I32, before: ShownBefore) -> Scored:
    """Score items by the chance that they are taken where they are shown together, best first.

    Parameters
    ----------
    engine, chunk
        Who scores, and the question.
    rows
        (n,) distinct catalogue rows, at least one; their order says nothing.
    before
        What the user was shown before.
    """
    view = _seen(chunk, rows)
    x = engine.signals.of(chunk.retrieval, view, chunk.segment)
    _, both = engine.score_lists(x, chunk.segment, [(rows, before)], placed=False)
    given = both * engine.weights["shown"][chunk.segment[0]]
    places = {name: place for place, name in enumerate(engine.list_names)}
    beside = {
        name: given[:, [places[one] for one in features]].sum(axis=1)
        for name, features in LISTED.items()
    }
    return Scored.of(view, given[:, : x.shape[1]], beside)
