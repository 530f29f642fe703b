"""What a run must end in: the state of an undisturbed replay of its log by one process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
from pydantic import SecretStr

from consumers.replay import Replay
from features.text import load_encoder
from models.learner import decode_learner
from stream.archive.files import Files
from stream.archive.forgotten import Forgotten
from stream.archive.reader import part_batches
from stream.archive.table import EVERYTHING
from stream.archive.view import View
from stream.events import BadRecord, decode
from stream.keys import DEFAULT_USER
from stream.memory import MemoryBroker
from stream.settings import Settings
from stream.store import Store
from tests.faults.places import Places
from tests.faults.shop import PARTITIONS, record_of, shop

__all__ = ["Difference", "Expected", "differences", "expect", "replay"]

BATCH: Final = 64
Kind = Literal["lost", "doubled", "differing"]
Archived = tuple[str, int, int, bytes]
STATES: Final[Mapping[str, tuple[str, ...]]] = {
    "session": (),
    "forgotten": (),
    "item": (),
    # The last record folded in: of several partitions any may have been the last.
    "itemstate": ("as_of",),
    "neighbours": ("as_of",),
}
"""Kinds of values that must agree byte for byte, but for these fields."""

SCORED: Final = ("x", "odds")
"""What a shown list's record has of the models, which depend on the batches."""


@dataclass(frozen=True)
class Difference:
    """One value that is not what it must be, and in which way."""

    way: Kind
    what: str
    expected: str
    found: str


@dataclass
class Expected:
    """What one log must end in.

    Attributes
    ----------
    states
        Kind of value to its name to its bytes.
    vectors
        Names of the vectors that the cards' texts have.
    learners
        Partition to what its learner counted: positives, examples by head, open lists.
    open
        Name of each shown list that a learner still waits for, to what its record must be.
    stamps
        User to partition and offset of his list; those without a list are not in it.
    archived
        Topic (without the run's own name), partition, offset and bytes of each row.
    letters
        Partition and offset of each record that is set aside.
    """

    lines: list[bytes]
    vectors: dict[str, bool] = field(default_factory=dict)
    states: dict[str, dict[str, bytes]] = field(default_factory=dict)
    learners: dict[int, dict[str, Any]] = field(default_factory=dict)
    open: dict[str, bytes] = field(default_factory=dict)
    stamps: dict[str, tuple[int, int]] = field(default_factory=dict)
    archived: Counter[Archived] = field(default_factory=Counter)
    letters: set[tuple[int, int]] = field(default_factory=set)


def expect(seed: int, settings: Settings) -> Expected:
    """Replay the log of a seed, undisturbed, and return what it ends in."""
    found = Expected(shop(seed))
    redis = settings.redis.model_copy(update={"url": SecretStr("embedded:")})
    own = settings.model_copy(update={"redis": redis})
    store = Store(own.redis)
    try:
        places = Places(replay(found.lines, own, store).records(own.kafka.events))
        found.states = {kind: _values(store, kind, places) for kind in STATES}
        found.vectors = _vectors(found.states["item"].values())
        found.learners, found.stamps = _learners(store), _stamps(store, places)
        learners = found.learners.items()
        waiting = {f"{partition}:{name}" for partition, one in learners for name in one["open"]}
        found.open = _open_lists(store, places, waiting)
    finally:
        store.close()
    _place(found, own)
    return found


def replay(lines: Sequence[bytes], settings: Settings, store: Store) -> MemoryBroker:
    """Replay lines into a store; lists that wait for their clicks go on waiting, as live."""
    engine = Replay(settings, store, load_encoder(settings.encoder), partitions=PARTITIONS)
    sink = engine.broker.sink()
    engine._turn(flush=False)
    for number, line in enumerate(lines, 1):
        sink.send(record_of(line, settings))
        if number % BATCH == 0:
            engine._turn(flush=False)
    engine._turn(flush=True)
    return engine.broker


def _place(found: Expected, settings: Settings) -> None:
    """Note where each record lies, and what becomes of it."""
    following: Counter[tuple[str, int]] = Counter()
    for line in found.lines:
        record = record_of(line, settings)
        assert record.partition is not None
        at = following[record.topic, record.partition]
        following[record.topic, record.partition] += 1
        if isinstance(decode(line), BadRecord):
            found.letters.add((record.partition, at))
        else:
            kind = record.topic.rpartition(".")[2]
            found.archived[kind, record.partition, at, line] += 1


def _values(store: Store, kind: str, places: Places) -> dict[str, bytes]:
    found = {}
    for name, raw in store.scan(kind):
        value = _without(places.within(kind, raw), STATES[kind])
        found[name] = msgspec.json.encode(value)
    return found


def _vectors(cards: Iterable[bytes]) -> dict[str, bool]:
    """Return the names of the vectors of cards' texts; others may be there, of earlier texts."""
    known = [msgspec.json.decode(card) for card in cards]
    return {f"{one['encoder']}:{one['text_hash']}": True for one in known if one.get("text_hash")}


def _learners(store: Store) -> dict[int, dict[str, Any]]:
    found = {}
    for name, raw in store.scan("learner"):
        state = decode_learner(raw)
        examples = {head: one.examples for head, one in state.heads.items()}
        found[int(name)] = {"positives": state.positives, **examples, "open": state.open}
    return found


def _open_lists(store: Store, places: Places, names: Container[str]) -> dict[str, bytes]:
    """Return records of shown lists; a crash may have left others, which end by themselves."""
    found = {name: raw for name, raw in store.scan("open") if name in names}
    return {
        name: msgspec.json.encode(_without(places.within("open", raw), SCORED))
        for name, raw in found.items()
    }


def _without(value: dict[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    return {name: one for name, one in value.items() if name not in set(fields)}


def _stamps(store: Store, places: Places) -> dict[str, tuple[int, int]]:
    found = {}
    for name, raw in store.scan("recs"):
        as_of = msgspec.json.decode(raw)["as_of"]
        place = as_of["partition"], as_of["offset"]
        found[name] = place[0], places.number(*place)
    if DEFAULT_USER in found:  # that it is there counts: what it goes by depends on the batches
        found[DEFAULT_USER] = (-1, -1)
    return found


def differences(
    expected: Expected,
    store: Store,
    archive: Path,
    letters: set[tuple[int, int]],
    places: Places | None = None,
) -> Iterator[Difference]:
    """Yield every difference between what a run ended in and what it must end in.

    Parameters
    ----------
    expected
        What it must.
    store
        The run's Redis.
    archive
        The run's archive.
    letters
        Partition and offset of each record that it set aside.
    places
        Of the run's events topic; None: nothing was handed over.
    """
    places = Places() if places is None else places
    for kind, values in expected.states.items():
        yield from _compare(kind, values, _values(store, kind, places), _by_counts)
    present = {name: True for name, _ in store.scan("vector") if name in expected.vectors}
    yield from _compare("vector", expected.vectors, present, _never)
    yield from _compare("learner", expected.learners, _learners(store), _by_positives)
    yield from _compare("open", expected.open, _open_lists(store, places, expected.open), _never)
    yield from _compare("recs", expected.stamps, _stamps(store, places), _never)
    found = _archived(archive, places)
    for row in expected.archived - found:
        yield Difference("lost", f"archive {row[:3]}", str(row[3]), "nothing")
    for row in found - expected.archived:
        way: Kind = "doubled" if row in expected.archived else "differing"
        yield Difference(way, f"archive {row[:3]}", "nothing more", str(row[3]))
    for letter in expected.letters ^ {(at, places.number(at, offset)) for at, offset in letters}:
        way = "lost" if letter in expected.letters else "differing"
        yield Difference(way, f"dead letter {letter}", str(letter in expected.letters), "not so")


def _archived(folder: Path, places: Places) -> Counter[Archived]:
    """Count the rows that count, those of forgotten users among them: these too must be there."""
    found: Counter[Archived] = Counter()
    if not (folder / "_spans").exists():
        return found
    view = View(Files(str(folder)))
    view.forgotten = Forgotten()
    for place, parts in view.parts.items():
        kind, at = place.topic.rpartition(".")[2], place.partition
        for part in parts:
            for batch in part_batches(view, place, part, ("raw",), EVERYTHING):
                offsets, raws = (batch.column(one).to_pylist() for one in ("offset", "raw"))
                for offset, raw in zip(offsets, raws, strict=True):
                    number = places.number(at, offset) if kind == "events" else offset
                    found[kind, at, number, raw] += 1
    return found


def _compare(
    kind: str,
    expected: Mapping[Any, Any],
    found: Mapping[Any, Any],
    way: Callable[[Any, Any], Kind],
) -> Iterator[Difference]:
    for name in sorted(expected.keys() | found.keys()):
        here, there = expected.get(name), found.get(name)
        if here == there:
            continue
        how: Kind = "lost" if there is None else "differing" if here is None else way(here, there)
        yield Difference(how, f"{kind} {name}", _text(here), _text(there))


def _never(expected: object, found: object) -> Kind:
    return "differing"


def _by_counts(expected: bytes, found: bytes) -> Kind:
    """Tell by the totals of a state whether it has too little or too much."""
    here, there = msgspec.json.decode(expected), msgspec.json.decode(found)
    return _less_or_more(_total(here), _total(there))


def _total(state: Mapping[str, Any]) -> int:
    counts = [state.get(name, 0) for name in ("events", "shown", "clicked", "taken")]
    return int(sum(counts) + sum(state.get("totals", {}).values()))


def _by_positives(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Kind:
    here, there = (sum(v for v in one.values() if isinstance(v, int)) for one in (expected, found))
    return _less_or_more(here, there)


def _less_or_more(expected: int, found: int) -> Kind:
    if expected == found:
        return "differing"
    return "lost" if found < expected else "doubled"


def _text(value: Any) -> str:
    if value is None:
        return "nothing"
    return value.decode() if isinstance(value, bytes) else str(value)
