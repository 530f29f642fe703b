"""States that an older version wrote, or that were damaged: read as far as they can be."""

from __future__ import annotations

import json
import logging
from typing import Any

import msgspec
import pytest

from features.catalogue import Catalogue
from features.contexts import ask, build_contexts, meaning_of
from features.session import decode_session, encode_session
from features.shown import shown_before
from stream import metrics
from stream.events import Event
from stream.settings import Settings
from tests.builders import NOON, folded, interaction, ranking, search

EVENTS: list[Event] = [
    ranking(["a", "b"], NOON - 9, id="r", session="s"),
    interaction("a", NOON - 8, ranking="r"),
    interaction("z", NOON - 7, type="dislike"),
    interaction("c", NOON - 1, session="t"),
    search("tea", NOON),
]


WHOLE = folded(EVENTS)
FORMS = {1: msgspec.json.encode(WHOLE), 2: encode_session(WHOLE)}
"""The same state in each layout; the first one is that of the memory."""


def stored(form: int = 2, /, **changes: Any) -> bytes:
    """Return a state with fields, or fields of parts, changed; those that are None left out."""
    state = json.loads(FORMS[form])
    for part, fields in changes.items():
        if not isinstance(fields, dict):
            state[part] = fields
            continue
        for field, value in fields.items():
            state.setdefault(part, {})[field] = value
            if value is None:
                del state[part][field]
    return json.dumps(state).encode()


BOTH = [
    ({"history": {"visits": None}}, "history.visits"),
    ({"history": {"visits": [2]}}, "history.visits"),
    ({"history": {"times": []}}, "history.times"),
    ({"history": {"times": [NOON, NOON, 10**30]}}, "history.times"),
    ({"impressions": {"taken": None}}, "impressions.taken"),
    ({"impressions": {"taken": [[7]]}}, "impressions.taken"),
    ({"impressions": {"items": [["a"], ["b"]]}}, "impressions.items"),
    ({"ignored": {"items": {"b": [1]}}}, "ignored.items"),
    ({"situation": {"query_time": "noon"}}, "situation.query_time"),
]
FIRST = [
    ({"history": {"signs": None}}, "history.signs"),
    ({"history": {"signs": [1]}}, "history.signs"),
    ({"history": {"signs": "odd"}}, "history.signs"),
    ({"history": {"signs": [9, 9, 9]}}, "history.signs"),
    ({"history": {"types": ["click"]}}, "history.types"),
    ({"history": {"items": None}}, "history.times"),
    ({"owned": {"items": {"a": [1, NOON]}}}, "owned.items"),
]
SECOND = [
    ({"history": {"kinds": None}}, "history.types"),
    ({"history": {"kinds": [0]}}, "history.types"),
    ({"history": {"kinds": [0, 1, 2]}}, "history.kinds"),
    ({"history": {"kinds": [0, -1, 0]}}, "history.kinds"),
    ({"history": {"types": [["click", 9]]}}, "history.types"),
    ({"history": {"types": None}}, "history.kinds"),
    ({"history": {"times": [0, -1, 5]}}, "history.times"),
    ({"history": {"items": ["a"]}}, "history.times"),
    ({"impressions": {"times": [-1]}}, "impressions.times"),
    ({"ignored": {"touched": 7}}, "ignored.touched"),
    ({"ignored": {"counts": {"b": -1}}}, "ignored.counts"),
    ({"windows": {"earlier": {"click": "many"}}}, "windows.earlier"),
    ({"owned": {"a": [1, NOON]}}, "owned"),
]
DAMAGED = [*((1, *one) for one in BOTH + FIRST), *((2, *one) for one in BOTH + SECOND)]


@pytest.mark.parametrize(("form", "changes", "lost"), DAMAGED)
def test_what_cannot_be_read_is_mended_and_said(
    form: int, changes: dict[str, Any], lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = metrics.counters().get("sessions.mended", 0)
    with caplog.at_level(logging.WARNING):
        session = decode_session(stored(form, **changes))
    assert lost in caplog.text
    assert metrics.counters()["sessions.mended"] == before + 1
    for hidden in (None, NOON - 1):
        index = Catalogue(dim=1)
        asked = ask(session, NOON, index, meaning_of(Settings()), before=hidden)
        assert len(build_contexts([asked])) == 1
        shown_before(session, index)
    folded(EVENTS, state=session, first=10)
    raw = encode_session(session)
    assert encode_session(decode_session(raw)) == raw
    assert metrics.counters()["sessions.mended"] == before + 1


def test_a_state_of_the_first_layout_is_read() -> None:
    raw = (
        b'{"as_of":{"partition":0,"offset":4,"event_time":1702123200000},"user":"u","visit":2,"visit_id":"t","visit_start":1702123199999,"events":5,"positives":2,'
        b'"history":{"items":["a","z","c"],"times":[1702123199992,1702123199993,1702123199999],"types":["click","dislike","click"],"visits":[1,1,2],"signs":[1,-1,1]},'
        b'"owned":{"items":{"a":[1,1702123199992,0,0,1702123199992,1],"c":[1,1702123199999,0,0,1702123199999,2]}},'
        b'"ignored":{"items":{"b":[1,1702123199991]},"latest":1702123199991},'
        b'"windows":{"days":{"shown":{"19700":2},"click":{"19700":2},"taken":{"19700":2},"dislike":{"19700":1},"search":{"19700":1}},"totals":{"shown":2,"click":2,"taken":2,"dislike":1,"search":1}},'
        b'"situation":{"query":"tea","query_time":1702123200000},'
        b'"impressions":{"lists":["r"],"times":[1702123199991],"items":[["a","b"]],"taken":[[0]]},'
        b'"pace":{"minute":28368720,"events":1},"recent_ids":["r"]}'
    )
    assert raw == FORMS[1]
    assert decode_session(raw) == WHOLE
    assert encode_session(decode_session(raw)) == FORMS[2]
    assert len(FORMS[2]) < len(raw)


def test_signs_that_were_not_kept_are_taken_from_what_is_owned() -> None:
    assert decode_session(stored(1, history={"signs": None})).history.signs == [1, 0, 1]


def test_columns_meet_at_the_latest_interaction() -> None:
    history = decode_session(stored(1, history={"signs": [-1], "visits": [7, 8]})).history
    assert history.items == ["a", "z", "c"]
    assert history.signs == [1, 0, -1]
    assert history.visits == [6, 7, 8]
    shorter = decode_session(stored(1, history={"types": ["like", "click"]})).history
    assert (shorter.items, shorter.types) == (["z", "c"], ["like", "click"])
    shorter = decode_session(stored(history={"kinds": [1, 0], "visits": [8]})).history
    assert (shorter.items, shorter.types) == (["z", "c"], ["dislike", "click"])
    assert (shorter.signs, shorter.visits) == ([-1, 1], [7, 8])


@pytest.mark.parametrize("form", [1, 2])
def test_what_can_be_read_stays(form: int) -> None:
    owned = {"items": {"a": [1]}}  # in neither layout
    session = decode_session(stored(form, owned=owned, pace={"minute": "noon"}))
    assert (session.history, session.ignored) == (WHOLE.history, WHOLE.ignored)
    assert session.impressions == WHOLE.impressions
    assert (session.visit, session.events) == (WHOLE.visit, WHOLE.events)
    assert session.owned.items == ({} if form == 1 else WHOLE.owned.items)
    lists = decode_session(stored(form, impressions={"times": None}))
    assert lists.impressions.lists == []
    assert (lists.history, lists.owned) == (WHOLE.history, WHOLE.owned)


def test_what_follows_from_the_rest_is_not_stored() -> None:
    state = json.loads(FORMS[2])
    assert "owned" not in state
    assert state["ignored"] == {"touched": ["a"], "latest": NOON - 9}
    assert "earlier" not in state["windows"]
    assert decode_session(FORMS[2]).owned.items.keys() == {"a", "c"}


def test_what_does_not_follow_is() -> None:
    events: list[Event] = [
        *[ranking([f"o{n}" for n in range(100)], NOON - 99, id=None)],
        *[ranking(["x", "y"], NOON - 90 + n, id=f"r{n}") for n in range(2)],
        interaction("x", NOON - 80),
        ranking(["y", "x"], NOON - 70, id="r3"),
        *[interaction(f"i{n}", NOON + n * 86_400_000) for n in range(120)],
    ]
    session = folded(events)
    state = json.loads(encode_session(session))
    assert state["ignored"]["counts"] == {"x": 1}
    assert len(state["ignored"]["items"]) == 100
    assert len(state["owned"]) == 121
    assert state["windows"]["earlier"] == {"click": 91, "taken": 91}
    assert decode_session(encode_session(session)) == session


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"user":"u"}', b'{"as_of":1,"user":"u"}', b"\xff"])
def test_what_is_nobodys_state_is_refused(raw: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        decode_session(raw)
