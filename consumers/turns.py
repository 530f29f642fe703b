"""The order of a batch's stamped values, which a cluster keeps by waiting between two turns.

After a crash a batch is handled again by what is there. A user's state says that his events
are folded in; so whatever an event leaves elsewhere must be there before it, or never will be.
"""

from __future__ import annotations

from typing import Final

__all__ = ["LEARNERS", "LISTS", "STATES", "TOMBSTONES"]

LISTS: Final = 0
"""Shown lists that were opened: the learner names them."""

LEARNERS: Final = 1
"""A learner says that its events are learned from, also those of users who are then forgotten."""

TOMBSTONES: Final = 2
"""A tombstone stands for a state, and outlives it; no second event would write it."""

STATES: Final = 3
"""Users' states; beside them what a second handling makes again, such as their lists."""
