from __future__ import annotations

from collections.abc import Iterable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from features.session import (
    Session,
    decode_session,
    encode_session,
    fold,
    new_session,
)
from stream.events import Event, decode, encode
from tests.builders import RULES, folded, merge, rules
from tests.properties.events import events

laid_out = msgspec.json.encode
"""A state as the memory has it, every part to the order of what is in it."""

SMALL = rules(history=4, owned=3, ignored=2)


@given(events)
def test_equal_events_give_equal_bytes(stream: list[Event]) -> None:
    copies = [decode(encode(event)) for event in stream]
    assert encode_session(folded(copies)) == encode_session(folded(stream))


@given(events)
def test_folding_twice_is_folding_once(stream: list[Event]) -> None:
    session = folded(stream)
    once = encode_session(session)
    assert encode_session(folded(stream, state=session)) == once


def deliver(stream: list[Event], places: Iterable[int]) -> Session:
    session = new_session("u")
    for place in places:
        fold(session, stream[place], (0, place), RULES)
    return session


@given(events, st.data())
def test_any_stretch_may_be_delivered_again_at_any_point(
    stream: list[Event], data: st.DataObject
) -> None:
    """What Kafka may do: go back to an earlier offset, any number of times, also across a crash."""
    places: list[int] = []
    for back in data.draw(st.lists(st.integers(0, len(stream)), max_size=4)):
        reached = data.draw(st.integers(back, len(stream)))
        start = min(back, max(places, default=-1) + 1)
        places += range(start, reached)
    places += range(max(places, default=-1) + 1, len(stream))
    assert encode_session(deliver(stream, places)) == encode_session(folded(stream))


@given(events, st.integers(0, 20))
def test_state_round_trips_at_any_point(stream: list[Event], cut: int) -> None:
    first = folded(stream[:cut])
    raw = encode_session(first)
    again = decode_session(raw)
    assert encode_session(again) == raw
    assert laid_out(again) == laid_out(first)
    rest = folded(stream[cut:], state=again, first=min(cut, len(stream)))
    assert encode_session(rest) == encode_session(folded(stream))


@given(events, events)
def test_what_is_not_stored_follows_whatever_comes(mine: list[Event], theirs: list[Event]) -> None:
    for by in (RULES, SMALL):
        session = folded(mine, by=by)
        state = encode_session(folded(theirs, partition=1, by=by))
        if session.events:
            place = (0, len(mine))
            fold(session, merge("anon", state, at=session.as_of.event_time), place, by)
        assert laid_out(decode_session(encode_session(session))) == laid_out(session)


@given(events)
def test_bounds_hold_whatever_comes(stream: list[Event]) -> None:
    session = folded(stream, by=SMALL)
    history = session.history
    columns = (history.items, history.times, history.types, history.visits)
    assert {len(column) for column in columns} == {min(4, len(history.items))}
    assert len(session.owned.items) <= 3
    assert len(session.ignored.items) <= 2
    assert history.visits == sorted(history.visits)
    assert session.visit >= max(history.visits, default=0)


@given(events)
def test_time_and_place_never_go_back(stream: list[Event]) -> None:
    session, latest = new_session("u"), 0
    for offset, event in enumerate(stream):
        fold(session, event, (0, offset), RULES)
        assert session.as_of.offset == offset
        assert session.as_of.event_time >= latest
        latest = session.as_of.event_time


@settings(max_examples=60)
@given(events, events, st.integers(1, 3))
def test_merging_again_takes_nothing_more(
    mine: list[Event], theirs: list[Event], times: int
) -> None:
    state = encode_session(folded(theirs, partition=1))
    union = merge("anon", state, at=10**13)
    once = folded([*mine, union])
    again = folded([*mine, *[union] * (times + 1)])
    again.as_of = msgspec.structs.replace(again.as_of, offset=once.as_of.offset)
    assert again == once or not once.merged
    if once.merged:  # else there was nothing to take, and what was late stays where it came
        assert once.history.times == sorted(once.history.times)
