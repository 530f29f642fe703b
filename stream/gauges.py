"""What a process is like at the moment: lag, examples, the model that it serves.

Whoever knows a figure is asked for it with each heartbeat, in the loop's thread; what he
said is read by whoever exports it, in any thread. So the hot path is not troubled, and nothing
is read while it changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

__all__ = ["BEAT", "EXAMPLES", "ITEMS", "LAG", "MADE", "known", "look", "put", "reset", "watch"]

LAG: Final = "lag"
"""(topic, partition) -> records that wait."""

BEAT: Final = "beat"
"""() -> when the loop was seen to turn, epoch seconds."""

EXAMPLES: Final = "examples"
"""(head, partition) -> examples that the partition's learner has behind it."""

ITEMS: Final = "items"
"""() -> items of the catalogue that lists are made of."""

MADE: Final = "made"
"""(kind, version) of the models in use -> when they were made, epoch seconds; 0 if unknown."""

Values = Mapping[tuple[str, ...], float]

_asked: dict[str, Callable[[], Values]] = {}
_known: dict[str, Values] = {}


def watch(name: str, ask: Callable[[], Values]) -> None:
    """Ask for a figure, by its labels' values, with each heartbeat from here on."""
    _asked[name] = ask


def look() -> None:
    """Ask for all figures that are watched."""
    for name, ask in _asked.items():
        _known[name] = dict(ask())


def put(name: str, values: Values) -> None:
    """Set a figure; what it was before is gone, whatever its labels were."""
    _known[name] = values


def known(name: str) -> Values:
    """Return a figure as of the last heartbeat; nothing where nobody knows it."""
    return _known.get(name, {})


def reset() -> None:
    """Forget all figures and who knows them."""
    _asked.clear()
    _known.clear()
