"""The oracle finds every kind of wrong value: a right run, in which one thing is changed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from stream.archive.table import Row, row_of
from stream.archive.writer import ArchiveWriter
from stream.events import BadRecord, decode
from stream.records import Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain
from tests.faults import oracle
from tests.faults.oracle import Expected, differences, expect, replay
from tests.faults.shop import record_of, shop
from tests.faults.stage import make_small_encoder, settings_for

LINES = 600
LIFE_MS = 600_000

Value = dict[str, Any]
Found = list[tuple[str, str]]


class Right:
    """What an undisturbed run of a log's beginning leaves: equal to what is expected of it."""

    def __init__(self, folder: Path, settings: Settings, expected: Expected) -> None:
        self.expected, self.settings = expected, settings
        self.folder, self.rows = folder, rows_of(expected.lines, settings)
        self.store = Store(settings.redis)
        replay(expected.lines, settings, self.store)
        self.archive = self.archived("right", lambda rows: rows)

    def archived(self, name: str, change: Callable[[list[Row]], list[Row]]) -> Path:
        """Write an archive whose busiest partition has changed rows; return where."""
        busiest = max(self.rows, key=lambda place: len(self.rows[place]))
        for place, rows in self.rows.items():
            kept = change(rows) if place == busiest else rows
            ArchiveWriter(str(self.folder / name)).write(place, 0, rows[-1].offset + 1, kept)
        return self.folder / name

    def found(self, archive: Path | None = None, letters: Any = None) -> Found:
        letters = self.expected.letters if letters is None else letters
        where = archive or self.archive
        return [(o.way, o.what) for o in differences(self.expected, self.store, where, letters)]

    def with_value(self, kind: str, name: str, value: bytes | None) -> Found:
        """Return what is found while a key has another value, or none."""
        key = f"{self.store.keys.prefix}:1:{kind}:{name}"
        before = self.store.get(key)
        self.store.write_plain([Plain(key, value, LIFE_MS)])
        try:
            return self.found()
        finally:
            self.store.write_plain([Plain(key, before, LIFE_MS)])

    def some(self, kind: str, has: Callable[[Value], Any]) -> tuple[str, Value]:
        """Return the first value of a kind of which something holds, and its name."""
        for name, raw in sorted(self.store.scan(kind)):
            if has(value := msgspec.json.decode(raw)):
                return name, value
        raise AssertionError(f"no {kind} like that")


def rows_of(lines: list[bytes], settings: Settings) -> dict[TopicPartition, list[Row]]:
    """Return what the consumer `archive` keeps of a log, by partition."""
    rows: dict[TopicPartition, list[Row]] = defaultdict(list)
    following: dict[TopicPartition, int] = defaultdict(int)
    for line in lines:
        sent, event = record_of(line, settings), decode(line)
        assert sent.partition is not None
        place = TopicPartition(sent.topic, sent.partition)
        if not isinstance(event, BadRecord):
            rows[place].append(row_of(Record(*place, following[place], sent.key, line), event))
        following[place] += 1
    return rows


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Right]:
    folder = tmp_path_factory.mktemp("oracle")
    make_small_encoder(folder)
    given = settings_for(folder / "job0", "replay", "none", "embedded:", "range")
    settings = Settings.model_validate(given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(oracle, "shop", lambda seed: shop(seed)[:LINES])
        expected = expect(0, settings)
    one = Right(folder, settings, expected)
    yield one
    one.store.close()


def test_what_is_right_is_found_equal(right: Right) -> None:
    assert right.found() == []
    assert all(right.expected.states.values())
    assert right.expected.open
    assert right.expected.letters


@pytest.mark.parametrize(
    "kind", ["session", "forgotten", "item", "itemstate", "neighbours", "recs"]
)
def test_a_value_that_is_absent_is_lost_and_one_too_many_differs(right: Right, kind: str) -> None:
    name, value = right.some(kind, lambda value: True)
    assert right.with_value(kind, name, None) == [("lost", f"{kind} {name}")]
    more = msgspec.json.encode(value)
    assert right.with_value(kind, "nobody", more) == [("differing", f"{kind} nobody")]


COUNTS: dict[str, tuple[str, Callable[[Value], Any], tuple[str, ...]]] = {
    "a user's events": ("session", lambda v: v.get("events", 0) > 1, ("events",)),
    "times an item was shown": (
        "itemstate",
        lambda v: v["totals"].get("shown"),
        ("totals", "shown"),
    ),
    "clicks on an item": ("itemstate", lambda v: v["totals"].get("clicked"), ("totals", "clicked")),
    "positives of an item": ("itemstate", lambda v: v["totals"].get("taken"), ("totals", "taken")),
    "the public count of shown": ("neighbours", lambda v: v.get("shown"), ("shown",)),
    "the public count of clicks": ("neighbours", lambda v: v.get("clicked"), ("clicked",)),
    "the public count of positives": ("neighbours", lambda v: v.get("taken"), ("taken",)),
    "a learner's positives": ("learner", lambda v: v["positives"], ("positives",)),
    "examples of `next`": (
        *("learner", lambda v: v["heads"]["next"]["examples"]),
        ("heads", "next", "examples"),
    ),
    "examples of `shown`": (
        *("learner", lambda v: v["heads"]["shown"]["examples"]),
        ("heads", "shown", "examples"),
    ),
}
"""What is counted: kind of value, which one, and the path to the count."""


@pytest.mark.parametrize("what", COUNTS)
@pytest.mark.parametrize(("by", "way"), [(-1, "lost"), (1, "doubled")])
def test_a_count_that_is_too_small_is_lost_and_too_large_doubled(
    right: Right, what: str, by: int, way: str
) -> None:
    kind, has, path = COUNTS[what]
    name, value = right.some(kind, has)
    inner = value
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] += by
    assert right.with_value(kind, name, msgspec.json.encode(value)) == [(way, f"{kind} {name}")]


def other_item(state: Value) -> None:
    state["history"]["items"][-1] = "another"


def other_weight(view: Value) -> None:
    view["next"][0][1] += 0.5


def other_stamp(value: Value) -> None:
    value["as_of"]["offset"] -= 1


def later(stone: Value) -> None:
    stone["forgotten"] += 1


def other_price(card: Value) -> None:
    card["price"] = 0.01


def other_neighbour(state: Value) -> None:
    state["next"][sorted(state["next"])[0]] *= 2


def closed(learner: Value) -> None:
    learner["open"].pop(sorted(learner["open"])[0])


def other_past(shown: Value) -> None:
    shown["before"][0] = "another"


@pytest.mark.parametrize(
    ("kind", "has", "change"),
    [
        ("session", lambda v: v.get("history"), other_item),
        ("session", lambda v: v.get("events"), other_stamp),
        ("forgotten", lambda v: True, later),
        ("forgotten", lambda v: True, other_stamp),
        ("item", lambda v: v.get("price"), other_price),
        ("item", lambda v: True, other_stamp),
        ("neighbours", lambda v: v.get("next"), other_weight),
        ("itemstate", lambda v: v.get("next"), other_neighbour),
        ("learner", lambda v: v["open"], closed),
        ("recs", lambda v: v["user"] != "*default*", other_stamp),
        ("open", lambda v: v["before"], other_past),
        ("open", lambda v: True, other_stamp),
    ],
)
def test_a_value_that_counts_as_much_and_is_another_differs(
    right: Right, kind: str, has: Callable[[Value], Any], change: Callable[[Value], None]
) -> None:
    name, value = right.some(kind, has)
    change(value)
    found = right.with_value(kind, name, msgspec.json.encode(value))
    assert found == [("differing", f"{kind} {name}")]


def test_of_items_the_last_record_that_was_folded_in_may_be_another(right: Right) -> None:
    for kind in ("itemstate", "neighbours"):
        name, value = right.some(kind, lambda value: True)
        other_stamp(value)
        assert right.with_value(kind, name, msgspec.json.encode(value)) == []


def test_who_was_forgotten_and_has_his_old_life_too_is_found(right: Right) -> None:
    name, state = right.some("session", lambda value: value.get("forgotten"))
    del state["forgotten"]
    found = right.with_value("session", name, msgspec.json.encode(state))
    assert found == [("differing", f"session {name}")]
    state["events"] += 3
    found = right.with_value("session", name, msgspec.json.encode(state))
    assert found == [("doubled", f"session {name}")]


def test_a_learner_an_open_list_a_vector_and_the_list_for_strangers_are_missed(
    right: Right,
) -> None:
    name, _ = right.some("learner", lambda value: True)
    assert right.with_value("learner", name, None) == [("lost", f"learner {name}")]
    name, _ = right.some("open", lambda value: True)
    assert right.with_value("open", name, None) == [("lost", f"open {name}")]
    vector = sorted(right.expected.vectors)[0]
    assert right.with_value("vector", vector, None) == [("lost", f"vector {vector}")]
    found = right.with_value("recs", "*default*", None)
    assert found == [("lost", "recs *default*")]


def test_archived_rows_are_missed_found_twice_and_found_changed(right: Right) -> None:
    def differing(name: str, change: Callable[[list[Row]], list[Row]]) -> list[str]:
        found = right.found(right.archived(name, change))
        assert all(what.startswith("archive ") for _, what in found)
        return [way for way, _ in found]

    assert differing("short", lambda rows: rows[:-1]) == ["lost"]
    assert differing("twice", lambda rows: [*rows, rows[-1]]) == ["doubled"]
    changed = differing("other", lambda rows: [*rows[:-1], rows[-1]._replace(raw=b"{}")])
    assert sorted(changed) == ["differing", "lost"]
    assert right.found(right.folder / "none")[0][0] == "lost"


def test_dead_letters_are_missed_and_one_too_many_differs(right: Right) -> None:
    letters = right.expected.letters
    one = sorted(letters)[0]
    assert right.found(letters=letters - {one}) == [("lost", f"dead letter {one}")]
    more = (0, 10_000)
    assert right.found(letters=letters | {more}) == [("differing", f"dead letter {more}")]
