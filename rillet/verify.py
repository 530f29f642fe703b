"""Whether a live engine's state in Redis is what a replay of the same log makes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from stream.events import Identify, decode
from stream.keys import token_of
from stream.log import read_log
from stream.store import Store

__all__ = ["KINDS", "Comparison", "compare", "identified"]

KINDS: Final = ("session", "forgotten", "itemstate", "neighbours", "item", "recs")
"""Kinds of values that can be compared, in the order in which they are reported."""

EXAMPLES: Final = 5
"""Differing keys that are named."""


class _State(msgspec.Struct):
    events: int = 0
    forgotten: int = 0


_STATE: Final = msgspec.json.Decoder(_State)
Simplify = Callable[[bytes], bytes]

STAMPS: Final = ("as_of", "seen")
"""Where a value comes from: its stamp, and offsets counted so far."""


@dataclass(slots=True)
class Comparison:
    """What was found of one kind.

    Attributes
    ----------
    kind
        One of :data:`KINDS`.
    keys
        How many the replay made.
    equal
        How many of them are the same in both, byte for byte.
    missing, extra, differing
        Names of the first keys that only the replay has, that only the live
        engine has, and whose values differ.
    wrong
        How many keys these are in all.
    """

    kind: str
    keys: int = 0
    equal: int = 0
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    wrong: int = 0

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return dataclasses.asdict(self)


def compare(
    live: Store,
    replayed: Store,
    kind: str,
    *,
    stamps: bool = True,
    without: Collection[str] = (),
) -> Comparison:
    """Compare all values of a kind.

    Parameters
    ----------
    live, replayed
        The two sides.
    kind
        One of :data:`KINDS`.
    stamps
        Whether ``as_of`` must agree too. What is folded from several partitions
        carries the stamp of the last record, and the order of these may differ.
    without
        Names that are not compared.
    """
    if kind == "forgotten":
        without = {token_of(name).partition(":")[2] for name in without}
    ignored = () if stamps else STAMPS
    if kind == "item":  # a live engine may have changed its encoder on the way
        ignored = (*ignored, "encoder")
    simplify: Simplify = partial(_without, ignored) if ignored else bytes
    held = [(name, raw) for name, raw in replayed.scan(kind) if not _passes(kind, raw)]
    expected = {name: simplify(raw) for name, raw in held if name not in without}
    found = Comparison(kind, keys=len(expected))
    for name, raw in _once(live, kind):
        if name in without or _passes(kind, raw):
            continue
        if name not in expected:
            _note(found, found.extra, name)
        elif simplify(raw) != expected.pop(name):
            _note(found, found.differing, name)
        else:
            found.equal += 1
    for name in sorted(expected):
        _note(found, found.missing, name)
    return found


def _passes(kind: str, raw: bytes) -> bool:
    """Tell whether a value goes by itself, soon: an emptied state, for which a tombstone stays."""
    if kind != "session":
        return False
    try:
        state = _STATE.decode(raw)
    except msgspec.MsgspecError:  # what cannot be read differs
        return False
    return state.events == 0 and state.forgotten > 0


def _once(store: Store, kind: str) -> Iterator[tuple[str, bytes]]:
    """Yield each key of a kind once; a scan may yield it twice."""
    seen: set[str] = set()
    for name, raw in store.scan(kind):
        if name not in seen:
            seen.add(name)
            yield name, raw


def _note(found: Comparison, names: list[str], name: str) -> None:
    found.wrong += 1
    if len(names) < EXAMPLES:
        names.append(name)


def _without(names: Collection[str], raw: bytes) -> bytes:
    """Return a value without some of its fields."""
    value = msgspec.json.decode(raw)
    for name in names:
        value.pop(name, None)
    return msgspec.json.encode(value)


def identified(log: str | Path) -> set[str]:
    """Return whom an ``identify`` of a log touches: the visitors, and who they turned out to be.

    What is handed over comes back through the topic; where it falls depends on the
    batches, and so does the offset of everything behind it.
    """
    events = (decode(raw) for _, raw in read_log(log))
    found = [event for event in events if isinstance(event, Identify)]
    return {name for event in found for name in (event.anonymous, event.user)}
