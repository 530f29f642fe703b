"""What the service asks of a ranker: :class:`rillet.serving.ranker.Ranker` is one."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from rillet.serving.where import Where

__all__ = ["Answer", "Found", "Searching"]

T = TypeVar("T")


class Found(Protocol):
    """A ranked item; its parts add up to its score."""

    @property
    def item(self) -> str:
        """Which."""

    @property
    def score(self) -> float:
        """The higher, the better."""

    @property
    def parts(self) -> Mapping[str, float]:
        """What each source or signal adds to the score; ``bias`` is everybody's."""

    @property
    def reasons(self) -> Sequence[Any]:
        """The strongest of them, as in lists."""

    @property
    def words(self) -> Sequence[str]:
        """The reasons as a person would say them."""


class Answer(list[T]):
    """Ranked items, best first.

    Attributes
    ----------
    degraded
        Whether Redis was away, and what lies there of the user, or is said of items, is missing.
    """

    def __init__(self, found: Iterable[T] = (), *, degraded: bool = False) -> None:
        super().__init__(found)
        self.degraded = degraded


class Searching(Protocol):
    """Searches the catalogue and ranks items; its methods may be called from several threads."""

    @property
    def ready(self) -> bool:
        """Whether it is loaded."""

    def start(self) -> None:
        """Begin to load, in a thread of its own."""

    def close(self) -> None:
        """End its threads."""

    def search(  # noqa: PLR0913 - one thing asked in full
        self,
        query: str,
        *,
        user: str | None,
        session: str | None,
        n: int,
        items: Collection[str] | None,
        exclude: Collection[str],
        where: Where | None,
        explain: bool,
    ) -> Answer[Any]:
        """Return the ``n`` best items for a query, best first, each a :class:`Found`."""

    def rank(
        self,
        items: Sequence[str],
        *,
        user: str | None,
        session: str | None,
        query: str,
        explain: bool,
    ) -> Answer[Any]:
        """Return these items, best first, each a :class:`Found`; without a query it is ""."""
