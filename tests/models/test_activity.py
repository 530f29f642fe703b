from __future__ import annotations

import pytest

from features.session import admit, advance, new_session
from models.activity import UNIT, Activity, ActivityWriter, decode_activity, rows_by_item
from stream.events import Event
from stream.partition import partition_of
from stream.settings import NeighboursSettings
from tests.builders import DAY, NOON, RULES, interaction, ranking


def written(events: list[Event], *, partitions: int = 1, window: int = 10) -> list[Activity]:
    """Tell of one user's events and return the records that are sent."""
    settings = NeighboursSettings(window=window, decay=0.5)
    writer, session = ActivityWriter(settings, "transitions", partitions), new_session("u")
    for offset, event in enumerate(events):
        moment = admit(session, event, (2, offset), RULES)
        assert moment is not None
        writer.add(session, event, moment, (2, offset))
        advance(session, event, moment, (2, offset), RULES)
    records = writer.drain()
    assert writer.drain() == []
    for record in records:
        items = decode_activity(record.value).items
        followed = decode_activity(record.value).followed
        homes = {partition_of(items[row], partitions) for row in followed}
        assert homes <= {record.partition}
    return [decode_activity(record.value) for record in records]


def follows(records: list[Activity]) -> dict[tuple[str, str], list[int]]:
    found: dict[tuple[str, str], list[int]] = {}
    for record in records:
        for a, b, weight in zip(record.followed, record.follower, record.weight, strict=True):
            found.setdefault((record.items[a], record.items[b]), []).append(weight)
    return found


def counts(records: list[Activity]) -> dict[tuple[str, str], int]:
    found: dict[tuple[str, str], int] = {}
    for record in records:
        for item, name, count in zip(record.counted, record.name, record.count, strict=True):
            key = (record.items[item], name)
            found[key] = found.get(key, 0) + count
    return found


def clicks(names: str, step: int = 1) -> list[Event]:
    return [interaction(name, NOON + n * step) for n, name in enumerate(names)]


def test_what_comes_first_is_never_counted_as_following() -> None:
    assert follows(written(clicks("ab"))) == {("a", "b"): [UNIT]}


def test_each_further_item_back_weighs_less() -> None:
    assert follows(written(clicks("abc"))) == {
        ("a", "b"): [64],
        ("b", "c"): [64],
        ("a", "c"): [32],
    }


def test_only_the_last_distinct_items_count() -> None:
    found = follows(written(clicks("abbac"), window=2))
    assert {pair for pair in found if pair[1] == "c"} == {("a", "c"), ("b", "c")}
    assert found["a", "c"] == [64]
    assert found["b", "c"] == [32]
    assert ("b", "b") not in found


def test_a_visit_follows_nothing_of_an_earlier_one() -> None:
    assert follows(written(clicks("ab", step=DAY))) == {}


def test_a_stronger_deed_weighs_more_and_a_negative_one_nothing() -> None:
    events = [
        interaction("a"),
        interaction("b", NOON + 1, type="purchase"),
        interaction("c", NOON + 2, type="dislike"),
    ]
    assert follows(written(list(events))) == {("a", "b"): [3 * UNIT]}


def test_shown_taken_and_clicked_are_counted() -> None:
    events: list[Event] = [
        ranking(["a", "b", "a"], id="r"),
        interaction("a", NOON + 1, ranking="r"),
        interaction("b", NOON + 2),
        interaction("c", NOON + 3, type="dislike", ranking="r"),
    ]
    assert counts(written(events)) == {
        ("a", "shown"): 2,
        ("b", "shown"): 1,
        ("a", "taken"): 1,
        ("a", "clicked"): 1,
        ("b", "taken"): 1,
    }


def test_items_rows_go_to_their_partition_and_carry_their_place() -> None:
    records = written(clicks("abcdefgh"), partitions=3)
    assert len(records) == 3
    assert follows(records).keys() == follows(written(clicks("abcdefgh"))).keys()
    for record in records:
        assert record.source == 2
        assert record.follow_offset == sorted(record.follow_offset)
        assert set(record.follow_time) <= {NOON + n for n in range(8)}
    assert {item for record in records for item in rows_by_item(record)} == set("abcdefgh")


@pytest.mark.parametrize("partitions", [1, 4])
def test_rows_are_found_again_by_item(partitions: int) -> None:
    for record in written(clicks("abcab"), partitions=partitions):
        for item, (followed, counted) in rows_by_item(record).items():
            assert {record.items[record.followed[row]] for row in followed} <= {item}
            assert {record.items[record.counted[row]] for row in counted} <= {item}
