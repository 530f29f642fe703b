"""What a ranker answers: items best first, and whether it had to do without Redis."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import Struct

from models.answer import Reason

__all__ = ["Answer", "Ranked"]


class Ranked(Struct, frozen=True):
    """One item of an answer.

    Attributes
    ----------
    item
        Which.
    score
        Logarithm of the chance that the user takes this one of all that were compared.
    parts
        What each source or signal adds to the score, whose sum it is; the same for all is
        ``bias``. Empty where nobody asked for an explanation.
    reasons, words
        The strongest of them, the strongest first, and the same in words.
    known
        Whether the catalogue has it, and it is not withdrawn; else it stands last.
    """

    item: str
    score: float
    parts: dict[str, float] = {}
    reasons: list[Reason] = []
    words: list[str] = []
    known: bool = True


class Answer(list[Ranked]):
    """Ranked items, best first.

    Attributes
    ----------
    degraded
        Whether Redis was away, and what lies there of the user, or is said of items, is missing.
    """

    def __init__(self, found: Iterable[Ranked] = (), *, degraded: bool = False) -> None:
        super().__init__(found)
        self.degraded = degraded
