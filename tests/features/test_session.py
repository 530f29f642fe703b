from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from features.session import (
    Session,
    decode_session,
    encode_session,
    fold,
    is_new,
    new_session,
)
from stream.events import Event
from tests.builders import (
    DAY,
    HOUR,
    MINUTE,
    NOON,
    RULES,
    folded,
    forget,
    identify,
    interaction,
    merge,
    profile,
    ranking,
    rules,
    search,
)


def visits(events: list[Event]) -> list[int]:
    """Return the visit that each event falls into."""
    session, found = new_session("u"), []
    for offset, event in enumerate(events):
        fold(session, event, (0, offset), RULES)
        found.append(session.visit)
    return found


def test_silence_longer_than_the_gap_opens_a_visit() -> None:
    times = [NOON, NOON + 30 * MINUTE, NOON + 60 * MINUTE + 1, NOON + 61 * MINUTE]
    assert visits([interaction("a", at) for at in times]) == [1, 1, 2, 2]


def test_another_named_session_opens_a_visit_at_once() -> None:
    names = ["s", "s", "t", "t", None, "s"]
    events: list[Event] = [interaction("a", NOON + n, session=s) for n, s in enumerate(names)]
    assert visits(events) == [1, 1, 2, 2, 2, 3]


def test_the_same_named_session_goes_on_after_silence() -> None:
    events: list[Event] = [interaction("a", NOON + n * 3 * HOUR, session="s") for n in range(3)]
    assert visits(events) == [1, 1, 1]


def test_every_kind_of_event_keeps_a_visit_open() -> None:
    step = 20 * MINUTE
    events: list[Event] = [
        interaction("a", NOON),
        search("tea", NOON + step),
        ranking(["b"], NOON + 2 * step),
        profile(NOON + 3 * step),
        interaction("b", NOON + 4 * step),
    ]
    assert visits(events) == [1] * 5


def test_a_late_event_opens_no_visit_and_does_not_turn_back_time() -> None:
    session = folded([interaction("a", NOON), interaction("b", NOON - 5 * HOUR, session="other")])
    assert session.visit == 1
    assert session.as_of.event_time == NOON
    assert session.history.items == ["a", "b"]
    assert session.history.visits == [1, 1]


def test_start_and_name_of_the_present_visit_are_kept() -> None:
    session = folded(
        [
            interaction("a", NOON, session="s"),
            interaction("b", NOON + DAY, session="t"),
            interaction("c", NOON + DAY + 1, session="t"),
        ]
    )
    assert (session.visit, session.visit_id, session.visit_start) == (2, "t", NOON + DAY)


def test_redelivered_event_changes_nothing() -> None:
    events = [interaction("a"), ranking(["b", "c"], NOON + 1), search("tea", NOON + 2)]
    session = folded(events)
    once = encode_session(session)
    assert encode_session(folded(events, state=session)) == once
    assert encode_session(folded(events[1:], state=session, first=1)) == once


def test_an_event_is_new_beyond_the_stamp_or_in_another_partition() -> None:
    session = folded([interaction("a")], first=7)
    assert [is_new(session, 0, offset) for offset in (6, 7, 8)] == [False, False, True]
    assert is_new(session, 1, 0)


def test_duplicate_by_id_moves_the_stamp_alone() -> None:
    session = folded([interaction("a", id="1"), interaction("b", NOON + 1)])
    before = msgspec.to_builtins(session)
    folded([interaction("a", NOON + 5, id="1")], state=session, first=2)
    after = msgspec.to_builtins(session)
    assert after.pop("as_of") == {"partition": 0, "offset": 2, "event_time": NOON + 1}
    del before["as_of"]
    assert after == before


def test_equal_events_without_ids_both_count() -> None:
    assert folded([interaction("a"), interaction("a")]).windows.totals["click"] == 2


def test_delete_empties_the_state_and_what_is_older_does_not_revive_it() -> None:
    events = [
        interaction("a", NOON, session="s", fields=[]),
        profile(NOON, color="red"),
        forget(at=NOON + HOUR),
        interaction("b", NOON + MINUTE),
        search("old", NOON + HOUR),
    ]
    session = folded(events)
    assert session.events == session.positives == session.visit == 0
    assert session.forgotten == NOON + HOUR
    empty = Session(as_of=session.as_of, user="u", forgotten=session.forgotten)
    assert encode_session(session) == encode_session(empty)
    assert session.as_of.offset == 4


def test_a_forgotten_user_may_come_back() -> None:
    events = [interaction("a"), forget(at=NOON + HOUR), interaction("b", NOON + HOUR + 1)]
    session = folded(events)
    assert session.history.items == ["b"]
    assert (session.events, session.positives, session.visit) == (1, 1, 1)


def test_identify_empties_the_anonymous_state_once() -> None:
    session = folded([interaction("a", user="anon"), identify("anon", at=NOON + 1)])
    assert session.events == 0
    later = interaction("b", NOON + 2, user="anon")
    folded([later], state=session, first=2)
    folded([identify("anon", at=NOON + 1)], state=session, first=1)
    assert session.history.items == ["b"]


def anonymous(events: list[Event]) -> bytes:
    return encode_session(folded(events, state=new_session("anon"), partition=3, first=10))


def test_merge_joins_histories_in_time_order_and_adds_counts() -> None:
    mine = [interaction("a", NOON), interaction("c", NOON + 2 * MINUTE)]
    theirs: list[Event] = [
        interaction("b", NOON + MINUTE),
        interaction("a", NOON + 3 * MINUTE),
        ranking(["x", "y"], NOON + 4 * MINUTE),
        search("tea", NOON + 5 * MINUTE),
    ]
    session = folded([*mine, merge("anon", anonymous(theirs), at=NOON + 6 * MINUTE)])
    assert session.history.items == ["a", "b", "c", "a"]
    assert session.history.times == sorted(session.history.times)
    assert session.positives == 4
    assert {name: entry[0] for name, entry in session.owned.items.items()} == {
        "c": 1,
        "b": 1,
        "a": 2,
    }
    assert {name: entry[0] for name, entry in session.ignored.items.items()} == {"x": 1, "y": 1}
    assert session.situation.query == "tea"


def test_merge_that_comes_twice_is_taken_once() -> None:
    state = anonymous([interaction("b"), ranking(["x"], NOON + 1)])
    session = folded([interaction("a"), merge("anon", state, at=NOON + 2)])
    once = msgspec.to_builtins(session)
    folded([merge("anon", state, at=NOON + 2)], state=session, first=2)
    twice = msgspec.to_builtins(session)
    assert (once.pop("as_of")["offset"], twice.pop("as_of")["offset"]) == (1, 2)
    assert twice == once


def test_later_visit_of_the_same_stranger_is_merged_too() -> None:
    first, second = anonymous([interaction("b")]), new_session("anon")
    folded([interaction("c", NOON + 1)], state=second, partition=3, first=20)
    events: list[Event] = [
        merge("anon", first, at=NOON + 5),
        merge("anon", encode_session(second), at=NOON + 6),
        merge("anon", first, at=NOON + 7),
    ]
    session = folded(events)
    assert session.history.items == ["b", "c"]
    assert session.positives == 2
    assert session.merged == {"anon": [3, 20]}


def test_merge_without_a_state_takes_nothing() -> None:
    session = folded([interaction("a"), merge("anon", b"", at=NOON + 1)])
    assert session.history.items == ["a"]
    assert session.merged == {}


def test_bounds_hold() -> None:
    small = rules(history=5, owned=4, ignored=3)
    events: list[Event] = []
    for n in range(60):
        events.append(ranking([f"s{n}", f"t{n}"], NOON + n, id=f"r{n}"))
        events.append(interaction(f"i{n}", NOON + n, id=f"c{n}"))
    events.append(profile(NOON + 99, **{f"f{n}": float(n) for n in range(90)}))
    session = folded(events, by=small)
    assert session.history.items == [f"i{n}" for n in range(55, 60)]
    assert list(session.owned.items) == [f"i{n}" for n in range(56, 60)]
    assert list(session.ignored.items) == ["t58", "s59", "t59"]
    assert len(session.recent_ids) == 32
    assert len(session.situation.profile) == 32
    columns = session.history
    assert len(columns.items) == len(columns.times) == len(columns.types) == len(columns.visits)


def test_bounds_hold_after_merges_too() -> None:
    small = rules(history=5, owned=4, ignored=3)
    events: list[Event] = []
    for n in range(12):
        other = [ranking([f"x{n}", f"y{n}"], NOON + n), interaction(f"j{n}", NOON + n)]
        state = folded(other, state=new_session(f"anon{n}"), partition=1, first=n)
        events.append(merge(f"anon{n}", encode_session(state), at=NOON + n))
    session = folded(events, by=small)
    assert session.history.items == [f"j{n}" for n in range(7, 12)]
    assert list(session.owned.items) == [f"j{n}" for n in range(8, 12)]
    assert list(session.ignored.items) == ["y10", "x11", "y11"]
    assert len(session.merged) == 8


def test_state_round_trips_and_begins_with_its_stamp() -> None:
    session = folded([interaction("a", session="s", id="1"), ranking(["b"]), search("tea")])
    raw = encode_session(session)
    assert raw.startswith(b'{"as_of":{"partition":0,"offset":2')
    assert encode_session(decode_session(raw)) == raw


def test_folding_goes_on_alike_after_a_round_trip() -> None:
    events = [interaction(f"i{n % 3}", NOON + n * 20 * MINUTE, id=str(n)) for n in range(12)]
    unbroken = folded(events)
    broken = folded(events[:5])
    broken = folded(events[5:], state=decode_session(encode_session(broken)), first=5)
    assert encode_session(broken) == encode_session(unbroken)


def test_empty_states_share_nothing() -> None:
    one, other = new_session("one"), new_session("other")
    folded([interaction("a", id="1"), ranking(["b"]), profile(color="red")], state=one)
    assert encode_session(other) == encode_session(new_session("other"))


def test_bytes_that_are_no_state_are_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode_session(b'{"user":"u"}')


def test_merged_history_falls_into_visits_by_silence() -> None:
    theirs: list[Event] = [interaction("b", NOON - 2 * DAY), interaction("c", NOON - 2 * DAY + 1)]
    session = folded([interaction("a", NOON), merge("anon", anonymous(theirs), at=NOON + 1)])
    assert session.history.items == ["b", "c", "a"]
    steps = [later - earlier for earlier, later in pairwise(session.history.visits)]
    assert steps == [0, 1]
    assert session.history.visits[-1] == session.visit
