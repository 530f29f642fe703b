"""Items scored for one question, and what each score is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from features.contexts import Question, build_contexts
from models.answer import Reason
from models.engine import Chunk, Engine, Lists
from models.explain import reasons_of
from models.pairs import Pairs
from models.retrieval import View, retrieve
from models.scores import Blocked
from models.signals import segment_of
from rillet.serving.relevance import Relevance

__all__ = ["BIAS", "Scored", "look", "scored"]

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]

BIAS: Final = "bias"
WORDS: Final = "words"


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
    words
        (n,) what the words of the query add to each.
    view, x
        What the sources say of them, and (n, F) the blend's features.
    """

    rows: I32
    score: F64
    bias: float
    words: F64
    view: View
    x: F32

    def first(self, n: int) -> Self:
        """Return the best n alone."""
        rows = self.rows[:n]
        view = self.view.take(np.arange(len(rows)))
        return type(self)(rows, self.score[:n], self.bias, self.words[:n], view, self.x[:n])

    def explained(
        self, engine: Engine, chunk: Chunk
    ) -> tuple[list[dict[str, float]], list[list[Reason]]]:
        """Return what each score is made of, whose sum it is, and the strongest of that."""
        weights = engine.weights["next"][chunk.segment[0]]
        part = engine.signals.credit(self.view, chunk.segment, self.x * weights)
        names, words = (*engine.signals.owners, WORDS), self.words.tolist()
        parts = [
            {name: value for name, value in zip(names, (*row, said), strict=True) if value}
            | {BIAS: self.bias}
            for row, said in zip(part.tolist(), words, strict=True)
        ]
        told = Lists(self.rows[None], self.score[None], part[None].astype(np.float32))
        found = reasons_of(engine, chunk, told, self.view)[0]
        whole = np.maximum(part, 0).sum(axis=1).tolist()
        return parts, [_with_words(*one) for one in zip(found, whole, words, strict=True)]


def _with_words(reasons: list[Reason], others: float, words: float) -> list[Reason]:
    """Return the reasons with what the words of the query are of all that spoke for the item."""
    if words <= 0:
        return reasons
    left = others / (others + words)
    found = [Reason(why.source, round(why.share * left, 2), why.item) for why in reasons]
    found.append(Reason(WORDS, round(1 - left, 2)))
    told = [why for why in found if why.share > 0]
    return sorted(told, key=lambda why: -why.share)


def scored(engine: Engine, chunk: Chunk, rows: I32, relevance: Relevance | None) -> Scored:
    """Score items, best first.

    Parameters
    ----------
    engine, chunk
        Who scores, and the question.
    rows
        (n,) distinct catalogue rows.
    relevance
        What the query says of the catalogue, if there is one.
    """
    view = chunk.retrieval.see(Pairs(np.zeros(len(rows), np.int32), rows))
    score, x = engine.score(chunk, view)
    words = np.zeros(len(rows))
    if relevance is not None:
        words = relevance.worth(rows).astype(np.float64)
    total = score + words
    order = np.argsort(-total, kind="stable")
    best = total[order]
    bias = -float(best[0] + np.log(np.exp(best - best[0]).sum())) if len(best) else 0.0
    return Scored(
        rows[order],
        best + bias,
        bias,
        words[order],
        view.take(order),
        x[order],
    )
