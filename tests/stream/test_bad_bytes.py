"""Whatever bytes come, the decoder answers; ``benchmarks.fuzz`` tries millions more."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fuzz_target import SEEDS, check, mutated
from stream.events import BadRecord, decode


@given(st.binary(max_size=400))
def test_any_bytes_are_an_event_or_a_bad_record(raw: bytes) -> None:
    check(raw)


@given(st.sampled_from(SEEDS), st.data())
def test_an_event_with_some_bytes_changed_is_one_of_the_two(
    seed: bytes, data: st.DataObject
) -> None:
    begin = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(begin, len(seed)))
    check(seed[:begin] + data.draw(st.binary(max_size=20)) + seed[end:])


@given(st.sampled_from(SEEDS), st.integers(0, 2**32), st.integers(1, 4))
def test_an_event_with_odd_values_is_one_of_the_two(seed: bytes, number: int, times: int) -> None:
    chance = random.Random(number)
    for _ in range(times):
        seed = mutated(seed, chance)
    check(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_what_the_changes_begin_with_are_events(seed: bytes) -> None:
    assert not isinstance(check(seed), BadRecord)


def test_a_promise_that_is_broken_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    nameless = BadRecord("unheard-of", "", "odd", b"{}")
    monkeypatch.setattr("benchmarks.fuzz_target.decode", lambda raw, max_bytes: nameless)
    with pytest.raises(AssertionError):
        check(b"{}")


@pytest.mark.parametrize("depth", [100, 5_000, 100_000])
def test_json_that_is_nested_too_deep_is_a_bad_record(depth: int) -> None:
    found = decode(b'{"event":"item","timestamp":0,"item":"i","x":' + b"[" * depth)
    assert isinstance(found, BadRecord)
    merge = b'{"event":"merge","timestamp":0,"user":"u","anonymous":"v","state":'
    assert isinstance(decode(merge + b'{"a":' * depth), BadRecord)
