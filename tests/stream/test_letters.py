from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.deadletters import dead_letter
from stream.errors import SettingsError
from stream.events import BadRecord, encode
from stream.letters import Letter, concerns, letter_of, parse_where, still_bad, without
from stream.records import Record
from stream.settings import Settings
from tests.builders import NOON, search, withdraw


def letter(raw: bytes = b"{}", reason: str = "malformed", offset: int = 7, time: int = 1) -> Letter:
    bad = BadRecord(reason, "user", "empty", raw)
    out = dead_letter(bad, Record("events", 2, offset, b"k", raw), "dead")
    return letter_of(Record("dead", 0, 1, out.key, out.value, time, out.headers))


def test_a_letter_says_what_its_headers_say() -> None:
    found = letter()
    assert (found.reason, found.field, found.message) == ("malformed", "user", "empty")
    assert (found.name, found.at) == ("events:2:7", "0:1")
    assert found.as_dict(whole=True)["record"] == "{}"


@given(st.lists(st.tuples(st.text(max_size=9), st.binary(max_size=9)), max_size=9), st.binary())
def test_whatever_lies_in_the_topic_is_a_letter(
    headers: list[tuple[str, bytes]], raw: bytes
) -> None:
    numbers = [("partition", raw[:5]), ("offset", raw[5:9]), ("length", raw)]
    found = letter_of(Record("dead", 0, 1, raw, raw, 0, [*headers, *numbers]))
    json.dumps(found.as_dict(whole=True))
    concerns(found.record, ["u"])
    assert still_bad(found, Settings(), NOON)


@pytest.mark.parametrize(
    ("words", "meets"),
    [
        ([], True),
        (["reason=future", "reason=malformed"], True),
        (["reason=malformed", "topic=other"], False),
        (["offset=1..6"], False),
        (["offset=1..6", "offset=7"], True),
        (["partition=2", "since=1970-01-01"], True),
        (["until=1"], False),
    ],
)
def test_conditions_of_one_name_are_alternatives_and_names_all_hold(
    words: list[str], meets: bool
) -> None:
    assert parse_where(words).meets(letter()) is meets


@pytest.mark.parametrize("word", ["colour=red", "reason", "offset=a", "since=noon", "partition="])
def test_what_is_no_condition_is_refused(word: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_where([word])
    assert caught.value.mend


def test_what_would_be_set_aside_again_says_why() -> None:
    settings = Settings()
    soon = encode(search("tea", NOON))
    assert still_bad(letter(soon, "future"), settings, NOON) == ""
    assert still_bad(letter(soon, "future"), settings, NOON - 3_600_001).startswith("future")
    assert still_bad(letter(encode(withdraw("i")), "misplaced"), settings, NOON)
    assert still_bad(letter(b"x" * 800_000, "oversize"), settings, NOON).startswith("cut")
    assert still_bad(letter(b"{"), settings, NOON).startswith("malformed")


@pytest.mark.parametrize(
    ("key", "raw", "his"),
    [
        (b"ann", b"{}", True),
        (b"bob", b'{"user":"ann"}', True),
        (None, b'{"session":"ann"}', True),
        (None, b'{"anonymous":"ann","user":"eve"}', True),
        (None, b'{"item":"ann","user":"eve"}', False),
        (None, b"user ann, broken", True),
        (None, b"user anne, broken", False),
        (None, b"\xff ann\xff", True),
        (None, b'["ann"]', True),
        (None, b'{"user":{"id":"ann"}}', True),
        (None, b'{"item":"ann"}', False),
    ],
)
def test_whose_letter_it_is(key: bytes | None, raw: bytes, his: bool) -> None:
    assert concerns(Record("dead", 0, 0, key, raw), ["ann", "x"]) is his


def test_copies_keep_headers_and_doubled_ones_become_one() -> None:
    one, other = letter(b'{"user":"eve"}').record, letter(b'{"user":"ann"}', offset=8).record
    (copy,) = without([one, other, one], ["ann"])
    assert (copy.value, copy.key, tuple(copy.headers)) == (one.value, one.key, tuple(one.headers))
    unnamed = Record("dead", 0, 3, None, b"")
    assert len(list(without([unnamed, unnamed], []))) == 2
