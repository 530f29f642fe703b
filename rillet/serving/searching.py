"""What the service asks of a ranker: :class:`rillet.serving.ranker.Ranker` is one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from rillet.serving.where import Where

__all__ = ["Found", "Searching"]


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
    ) -> Sequence[Found]:
        """Return the ``n`` best items for a query, best first."""

    def rank(
        self,
        items: Sequence[str],
        *,
        user: str | None,
        session: str | None,
        query: str,
        explain: bool,
    ) -> Sequence[Found]:
        """Return these items, best first; without a query it is ""."""
