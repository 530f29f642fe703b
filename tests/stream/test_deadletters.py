from __future__ import annotations

from hypothesis import assume, given
from hypothesis import strategies as st

from stream import metrics
from stream.deadletters import MAX_KEY, MAX_VALUE, dead_letter
from stream.events import BadRecord, decode
from stream.records import Record


@given(st.binary(max_size=200), st.none() | st.binary(max_size=20))
def test_any_bytes_that_are_no_event_become_a_dead_letter(raw: bytes, key: bytes | None) -> None:
    decoded = decode(raw)
    assume(isinstance(decoded, BadRecord))  # now and then hypothesis tries our own examples
    assert isinstance(decoded, BadRecord)
    letter = dead_letter(decoded, Record("events", 3, 41, key, raw), "dead")
    headers = dict(letter.headers)
    assert (letter.topic, letter.value, letter.key) == ("dead", raw, key)
    assert (headers["topic"], headers["partition"], headers["offset"]) == (b"events", b"3", b"41")
    assert headers["reason"] == b"malformed"
    assert headers["message"].decode("utf-8")


def test_letters_are_counted_by_reason() -> None:
    metrics.reset()
    bad = BadRecord("future", "timestamp", "tomorrow", b"")
    for _ in range(3):
        dead_letter(bad, Record("events", 0, 0, None, b""), "dead")
    assert metrics.counters() == {"dead.future": 3}


def test_what_a_broker_would_refuse_is_cut_and_says_so() -> None:
    raw = b"x" * 2_000_000
    bad = BadRecord("oversize", "", "m" * 10_000, raw)
    letter = dead_letter(bad, Record("events", 0, 0, b"k" * 50_000, raw), "dead")
    headers = dict(letter.headers)
    assert (len(letter.value), headers["length"]) == (MAX_VALUE, b"2000000")
    assert letter.key is not None
    assert len(letter.key) == MAX_KEY
    assert len(headers["message"]) == 500
