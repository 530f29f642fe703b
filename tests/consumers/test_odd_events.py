"""What no single event may do to a personalize consumer: stop it, or decide its time."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from consumers.personalize import Personalize
from consumers.view import LiveView
from features.session import decode_session, encode_session, new_session
from features.text import Encoder
from stream import metrics
from stream.clock import HandClock
from stream.events import Event, encode
from stream.keys import DEFAULT_USER
from stream.records import Outgoing, Record, TopicPartition
from stream.settings import Settings
from stream.store import Store
from stream.writes import Writes
from tests.builders import HOUR, MINUTE, NOON, folded, interaction, ranking, search
from tests.consumers.small_log import Run, the_items

PLACE = TopicPartition(Settings().kafka.events, 0)
offsets = itertools.count()
prefixes = itertools.count()
users = itertools.count()


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store
    store.close()


@pytest.fixture(scope="module")
def settings(server: Store) -> Settings:
    redis = {"url": server.url, "prefix": f"odd{next(prefixes)}"}
    return Settings.model_validate({"redis": redis})


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.redis)
    yield store
    store.close()


def started(settings: Settings, store: Store, encoder: Encoder) -> Personalize:
    view = LiveView(settings, store, encoder, transition_partitions=1, every_ms=0)
    consumer = Personalize(settings, store, view, clock=HandClock(NOON + 2 * HOUR))
    consumer.assigned([PLACE])
    return consumer


@pytest.fixture(scope="module")
def consumer(settings: Settings, store: Store, encoder: Encoder) -> Personalize:
    return started(settings, store, encoder)


def record(event: Event | dict[str, Any]) -> Record:
    raw = json.dumps(event).encode() if isinstance(event, dict) else encode(event)
    return Record(PLACE.topic, 0, next(offsets), None, raw)


def merging(state: object, user: str) -> dict[str, Any]:
    merge = {"event": "merge", "timestamp": NOON, "user": user, "anonymous": "anon"}
    return {**merge, "state": state}


def letters(writes: Writes) -> list[Outgoing]:
    return [one for one in writes.produced if one.topic == Settings().kafka.deadletters]


def a_state(form: int = 2) -> dict[str, Any]:
    events: list[Event] = [
        ranking(["a", "b"], NOON - 3, id="r"),
        interaction("b", NOON - 2, ranking="r"),
        interaction("c", NOON - 1),
        ranking(["a", "d"], NOON, id="s"),
        search("tea", NOON),
    ]
    session = folded(events, state=new_session("anon"))
    raw = encode_session(session) if form == 2 else msgspec.json.encode(session)
    state: dict[str, Any] = json.loads(raw)
    return state


def changed(path: Sequence[str | int], value: object, form: int = 2) -> dict[str, Any]:
    """Return a state with another value at a path; None leaves the value out."""
    state = place = a_state(form)
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]
    place[path[-1]] = value  # type: ignore[index]
    if value is None:
        del place[path[-1]]  # type: ignore[arg-type]
    return state


BAD = [
    ({"foo": 1}, "state.as_of"),
    (None, "state"),
    ([1], "state"),
    ("a state", "state"),
    (changed(["history", "signs"], None, 1), "state.history.signs"),
    (changed(["history", "times"], [NOON]), "state.history.times"),
    (changed(["history", "times", 1], 10**30, 1), "state.history.times[1]"),
    (changed(["history", "times", 1], 10**30), "state.history.times"),
    (changed(["history", "times", 1], "noon"), "state.history.times[1]"),
    (changed(["history", "times", 1], -NOON), "state.history.times"),
    (changed(["history", "signs", 0], 5, 1), "state.history.signs[0]"),
    (changed(["history", "kinds", 0], 5), "state.history.kinds"),
    (changed(["history", "kinds"], None), "state.history.types"),
    (changed(["owned", "items", "b"], [1, NOON], 1), "state.owned.items[...]"),
    (changed(["owned"], {"b": [1, NOON]}), "state.owned[...]"),
    (changed(["ignored", "items", "a"], [], 1), "state.ignored.items[...]"),
    (changed(["ignored", "items"], {"a": []}), "state.ignored.items[...]"),
    (changed(["ignored", "touched"], [1]), "state.ignored.touched[0]"),
    (changed(["impressions", "taken"], None), "state.impressions.taken"),
    (changed(["impressions", "taken", 0], [2]), "state.impressions.taken"),
    (changed(["positives"], -1), "state.positives"),
]


@pytest.mark.parametrize(("state", "field"), BAD)
def test_a_merge_that_cannot_be_folded_is_a_dead_letter(
    consumer: Personalize, state: object, field: str
) -> None:
    user = f"user{next(users)}"
    writes = consumer.handle([record(merging(state, user)), record(interaction("x", NOON, user))])
    (letter,) = letters(writes)
    headers = dict(letter.headers)
    assert (headers["reason"], headers["field"]) == (b"malformed", field.encode())
    assert [s.key for s in writes.stamped if s.key.endswith(f"recs:{user}")]


def test_a_merge_of_times_before_all_time_keeps_its_columns_even(consumer: Personalize) -> None:
    user = f"user{next(users)}"
    state = changed(["history", "times"], [0, NOON - 1])
    writes = consumer.handle([record(merging(state, user))])
    (raw,) = [s.value for s in writes.stamped if s.key.endswith(f"session:{user}")]
    history = decode_session(raw).history
    assert history.items == ["c"]
    assert history.uneven() == ""


def paths_of(form: int) -> list[list[str | int]]:
    """Return where something lies in a state: fields, fields of parts, the first in these."""
    return [
        [part] + ([field] if field else []) + at
        for part, inner in a_state(form).items()
        for field in ["", *(inner if isinstance(inner, dict) else ())]
        for at in ([], [0], ["b"])
        if not at or (field and type(inner[field]) is (list if at == [0] else dict))
        if at != [0] or inner[field]
    ]


numbers = st.sampled_from([-1, 0, 1, 3, 2**31, 2**53, 2**63, 10**400, 0.5])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | numbers | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
values = json_values | st.lists(numbers, max_size=6)
states = st.one_of(
    json_values,
    *(
        st.builds(changed, st.sampled_from(paths_of(form)), values, st.just(form))
        for form in (1, 2)
    ),
)


@examples(max_examples=150)
@given(states)
@example(a_state())
@example(a_state(1))
@example({"foo": 1})
def test_whatever_a_merge_brings_it_is_folded_or_a_dead_letter(
    settings: Settings, store: Store, consumer: Personalize, encoder: Encoder, state: object
) -> None:
    user = f"user{next(users)}"
    before = metrics.counters().get("sessions.mended", 0)
    writes = consumer.handle([record(merging(state, user))])
    store.write(writes)
    raw = store.get(store.keys.session(user))
    assert len(letters(writes)) + (raw is not None) == 1
    if raw is not None:
        assert list(decode_session(raw).merged) == ["anon"]
    after: list[Event] = [
        ranking(["a", "b"], NOON + 1, user, id="t"),
        interaction("b", NOON + 2, user, ranking="t"),
        interaction("c", NOON + 2, user),
    ]
    assert letters(consumer.handle([record(event) for event in after])) == []
    started(settings, store, encoder).handle([record(event) for event in after])
    assert metrics.counters().get("sessions.mended", 0) == before


@pytest.mark.parametrize("place", [0, 5, 24])
def test_one_clock_that_runs_ahead_does_not_put_off_the_default_list(run: Run, place: int) -> None:
    people = itertools.cycle(["ann", "bob", "cyd"])
    log: list[Event] = [interaction("k1", NOON + n * MINUTE, next(people)) for n in range(30)]
    log.insert(place, interaction("k1", NOON + HOUR, "fast"))
    result = run([*the_items(), *log], batch={"max_records": 1}, recommend={"length": 1})
    default = result.answer(DEFAULT_USER)
    assert default is not None
    assert [one.item for one in default.items] == ["k1"]
    assert default.as_of.event_time == log[-1].timestamp
