"""How a group's partitions are shared out among its members."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from kafka.coordinator.assignors.cooperative_sticky import (  # type: ignore[import-untyped]
    CooperativeStickyAssignor,
)
from kafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]

__all__ = ["SHARING", "CooperativeSticky"]


class CooperativeSticky(CooperativeStickyAssignor):  # type: ignore[misc]
    """kafka-python's, but what was lost is not claimed any more.

    A member that slept through its session has lost all, and joins as a new one. The
    library's assignor then still names what it had before as its own; the leader waits for
    it to give up what others are to get, which it does not have: nobody reads these
    partitions until the group is shared out again, whenever that is (kafka-python 3.0.12).
    """

    def forget(self) -> None:
        """Take note that all was lost."""
        self.member_assignment: Any = None


SHARING: Final[dict[str, Callable[[], Any]]] = {
    "cooperative-sticky": CooperativeSticky,
    "range": RangePartitionAssignor,
}
"""What `kafka.assignment` may name; each consumer has one of its own."""
