"""Which dead letters are published again, and which never, whatever is said."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rillet.replayed import replay_letters
from stream.deadletters import dead_letter
from stream.events import BadRecord
from stream.letters import Letter, letter_of
from stream.records import Outgoing, Record
from stream.settings import Settings
from stream.store import Store


class Kept:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.sent: list[Outgoing] = []

    def send(self, record: Outgoing) -> None:
        """Keep a record."""
        self.sent.append(record)

    def flush(self, timeout_s: float = 1.0) -> None:
        """Do nothing: all is there."""

    def close(self) -> None:
        """Do nothing."""


@pytest.fixture
def store() -> Iterator[Store]:
    one = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield one
    one.close()


def letter(raw: bytes, offset: int) -> Letter:
    out = dead_letter(
        BadRecord("malformed", "user", "empty", raw), Record("events", 0, offset, b"k", raw), "dead"
    )
    return letter_of(Record("dead", 0, offset, out.key, out.value, 1, out.headers))


def test_force_sends_what_is_bad_and_never_what_was_cut(store: Store) -> None:
    whole, cut = letter(b"{}", 1), letter(b"x" * 2_000_000, 2)
    assert cut.length == 2_000_000 > len(cut.record.value)
    sink = Kept()
    done = replay_letters([whole, cut], Settings(), store, sink)
    assert (done.sent, sum(done.passed.values())) == (0, 2)
    done = replay_letters([whole, cut], Settings(), store, sink, force=True)
    assert [one.value for one in sink.sent] == [b"{}"]
    (why,) = done.passed
    assert why.startswith("cut: ")
    done = replay_letters([whole, cut], Settings(), store, sink, force=True)
    assert (done.sent, done.before, len(sink.sent)) == (0, 1, 1)
