"""One request to the engine: a question, what its query says, and the items that are compared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from features.contexts import Question
from features.shown import ShownBefore
from models.engine import Chunk
from rillet.serving.mirror import Mirror
from rillet.serving.relevance import Relevance
from rillet.serving.scoring import Scored, look, scored, scored_as_list
from rillet.serving.where import Where

__all__ = ["Search", "admitted"]

I32 = NDArray[np.int32]

ADMITTED: Final = 200
"""Items that are compared where only some may be found."""

CARDS_AT_ONCE: Final = 500
LOOKED_AT: Final = 10_000
"""Cards that are looked at before a rule is taken to admit no more."""


@dataclass(frozen=True, slots=True)
class Search:
    """What was asked for, seen by all sources.

    Everything here is done with the mirror's lock held.

    Attributes
    ----------
    mirror
        The engine.
    chunk
        The question.
    relevance
        What the query says of the catalogue; None without one.
    before
        What the user was shown before, where the items are compared as a list that is shown;
        None where they are as what is taken next.
    """

    mirror: Mirror
    chunk: Chunk
    relevance: Relevance | None
    before: ShownBefore | None = None

    @classmethod
    def of(
        cls,
        mirror: Mirror,
        question: Question,
        query: str,
        *,
        whole: bool = False,
        before: ShownBefore | None = None,
    ) -> Self:
        """Ask the sources; there is at least one item.

        Parameters
        ----------
        mirror
            The engine.
        question
            The user's, with the query.
        query
            The query, "" for none.
        whole
            Whether to ask about what is not recommended too, such as what was bought before.
            Who has a query is always told of it.
        before
            What the user was shown before, to compare items as a list.
        """
        if not query and not whole:
            (chunk,) = mirror.engine.look([question])
            return cls(mirror, chunk, None)
        chunk = look(mirror.engine, question)
        relevance = Relevance.of(mirror, query, chunk.retrieval) if query else None
        return cls(mirror, chunk, relevance, before)

    def found(self) -> I32:
        """Return the rows of all items that the query finds, or the sources, best first."""
        if self.relevance is not None:
            return self.relevance.candidates()
        return self.score(self.chunk.retrieval.candidates().item).rows

    def among(self, items: Collection[str]) -> I32:
        """Return the rows of those of the items that are known and not withdrawn."""
        index, alive = self.mirror.catalogue.index, self.mirror.catalogue.alive
        rows = [index[item] for item in dict.fromkeys(items) if item in index]
        return np.array([row for row in rows if alive[row]], np.int32)

    def without(self, rows: I32, items: Collection[str]) -> I32:
        """Return the rows less those of some items."""
        return rows[~np.isin(rows, self.among(items))] if items else rows

    def score(self, rows: I32) -> Scored:
        """Return items best first."""
        if self.before is not None and len(rows):
            return scored_as_list(self.mirror.engine, self.chunk, rows, self.before)
        return scored(self.mirror.engine, self.chunk, rows, self.relevance)


def admitted(mirror: Mirror, rows: I32, where: Where) -> I32:
    """Return the first rows whose cards are admitted; the lock is not held, for cards are read."""
    ids, kept = mirror.catalogue.ids, list[int]()
    for first in range(0, min(len(rows), LOOKED_AT), CARDS_AT_ONCE):
        some = rows[first : first + CARDS_AT_ONCE].tolist()
        cards = mirror.cards([ids[row] for row in some])
        kept += [row for row in some if (card := cards.get(ids[row])) and where.admits(card)]
        if len(kept) >= ADMITTED:
            break
    return np.array(kept, np.int32)
