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
QUERY: Final = "query"


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
    extra
        What the query alone adds to each: (n,) by name.
    view, x
        What the sources say of them, and (n, F) the blend's features.
    """

    rows: I32
    score: F64
    bias: float
    extra: dict[str, F64]
    view: View
    x: F32

    def first(self, n: int) -> Self:
        """Return the best n alone."""
        best = np.arange(min(n, len(self.rows)))
        extra = {name: values[:n] for name, values in self.extra.items()}
        view = self.view.take(best)
        return type(self)(self.rows[:n], self.score[:n], self.bias, extra, view, self.x[:n])

    def parts(self, engine: Engine, chunk: Chunk) -> list[dict[str, float]]:
        """Return what each score is made of: it is their sum."""
        names = engine.signals.owners
        found = []
        for place, row in enumerate(self._credit(engine, chunk).tolist()):
            one = {name: value for name, value in zip(names, row, strict=True) if value}
            for name, values in self.extra.items():
                one[name] = one.get(name, 0.0) + float(values[place])
            found.append(one | {BIAS: self.bias})
        return found

    def _credit(self, engine: Engine, chunk: Chunk) -> F64:
        """Return what each source or signal adds: (n, owners)."""
        weights = engine.weights["next"][chunk.segment[0]]
        part = engine.signals.credit(self.view, chunk.segment, self.x * weights)
        return np.asarray(part, np.float64)

    def reasons(self, engine: Engine, chunk: Chunk) -> list[list[Reason]]:
        """Return the strongest reasons for each item."""
        part = self._credit(engine, chunk)
        told = Lists(self.rows[None], self.score[None], part[None].astype(np.float32))
        found = reasons_of(engine, chunk, told, self.view)[0]
        return [
            _with_query(whys, row, {name: float(v[at]) for name, v in self.extra.items()})
            for at, (whys, row) in enumerate(zip(found, part, strict=True))
        ]


def _with_query(reasons: list[Reason], part: F64, extra: dict[str, float]) -> list[Reason]:
    """Return the reasons with what the query's words are of them."""
    whole = float(np.maximum(part, 0).sum())
    more = sum(max(value, 0.0) for value in extra.values())
    if more <= 0:
        return reasons
    left = whole / (whole + more)
    scaled = {
        why.source: Reason(why.source, round(why.share * left, 2), why.item) for why in reasons
    }
    for name, value in extra.items():
        before = scaled.get(name)
        share = round(value / (whole + more), 2) + (before.share if before else 0.0)
        if share > 0:
            scaled[name] = Reason(name, share)
    return sorted(scaled.values(), key=lambda why: -why.share)


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
    extra: dict[str, F64] = {}
    if relevance is not None:
        words, meaning = relevance.parts(rows)
        extra = {WORDS: words.astype(np.float64), QUERY: meaning.astype(np.float64)}
    total = score + sum(extra.values())
    order = np.argsort(-total, kind="stable")
    best = total[order]
    bias = -float(best[0] + np.log(np.exp(best - best[0]).sum())) if len(best) else 0.0
    return Scored(
        rows[order],
        best + bias,
        bias,
        {name: values[order] for name, values in extra.items()},
        view.take(order),
        x[order],
    )
