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


def stored(**changes: dict[str, Any]) -> bytes:
    """Return a state with fields of its parts changed, those that are None left out."""
    state = json.loads(encode_session(folded(EVENTS)))
    for part, fields in changes.items():
        for field, value in fields.items():
            state[part][field] = value
            if value is None:
                del state[part][field]
    return json.dumps(state).encode()


@pytest.mark.parametrize(
    ("changes", "lost"),
    [
        ({"history": {"signs": None}}, "history.signs"),
        ({"history": {"signs": [1]}}, "history.signs"),
        ({"history": {"signs": "odd"}}, "history.signs"),
        ({"history": {"signs": [9, 9, 9]}}, "history.signs"),
        ({"history": {"visits": None}}, "history.visits"),
        ({"history": {"visits": [2]}}, "history.visits"),
        ({"history": {"types": ["click"]}}, "history.types"),
        ({"history": {"times": []}}, "history.times"),
        ({"history": {"times": [NOON, NOON, 10**30]}}, "history.times"),
        ({"history": {"items": None}}, "history.times"),
        ({"impressions": {"taken": None}}, "impressions.taken"),
        ({"impressions": {"taken": [[7]]}}, "impressions.taken"),
        ({"impressions": {"items": [["a"], ["b"]]}}, "impressions.items"),
        ({"owned": {"items": {"a": [1, NOON]}}}, "owned.items"),
        ({"ignored": {"items": {"b": [1]}}}, "ignored.items"),
        ({"situation": {"query_time": "noon"}}, "situation.query_time"),
    ],
)
def test_what_cannot_be_read_is_mended_and_said(
    changes: dict[str, dict[str, Any]], lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = metrics.counters().get("sessions.mended", 0)
    with caplog.at_level(logging.WARNING):
        session = decode_session(stored(**changes))
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


def test_signs_that_were_not_kept_are_taken_from_what_is_owned() -> None:
    assert decode_session(stored(history={"signs": None})).history.signs == [1, 0, 1]


def test_columns_meet_at_the_latest_interaction() -> None:
    history = decode_session(stored(history={"signs": [-1], "visits": [7, 8]})).history
    assert history.items == ["a", "z", "c"]
    assert history.signs == [1, 0, -1]
    assert history.visits == [6, 7, 8]
    shorter = decode_session(stored(history={"types": ["like", "click"]})).history
    assert (shorter.items, shorter.types) == (["z", "c"], ["like", "click"])


def test_what_can_be_read_stays() -> None:
    whole = folded(EVENTS)
    session = decode_session(stored(owned={"items": {"a": [1]}}, impressions={"times": None}))
    assert (session.history, session.ignored) == (whole.history, whole.ignored)
    assert (session.visit, session.events) == (whole.visit, whole.events)
    assert session.owned.items == {}
    assert session.impressions.lists == []


@pytest.mark.parametrize("raw", [b"", b"[]", b'{"user":"u"}', b'{"as_of":1,"user":"u"}', b"\xff"])
def test_what_is_nobodys_state_is_refused(raw: bytes) -> None:
    with pytest.raises((msgspec.MsgspecError, UnicodeDecodeError)):
        decode_session(raw)
