"""The cache of users' states: bounded, and never another answer than Redis'."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from consumers.kept import KeptSessions
from features.card import AsOf
from features.session import Session, encode_session
from stream.settings import RedisSettings
from stream.store import Store
from stream.writes import Stamped


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store(RedisSettings.model_validate({"url": "embedded:"}))
    yield store
    store.close()


def write(store: Store, user: str, offset: int) -> None:
    state = Session(as_of=AsOf(0, offset, 10), user=user, events=1)
    store.write_stamped(
        [Stamped(store.keys.session(user), encode_session(state), 0, offset, 60_000)]
    )


@pytest.mark.parametrize(("most", "held"), [(0, ""), (2, "ca"), (9, "bca")])
def test_those_are_kept_that_were_seen_last(store: Store, most: int, held: str) -> None:
    kept = KeptSessions(store, store.keys, most)
    for user in "abc":
        write(store, user, 1)
    for batch in ("ab", "ca"):
        kept.load(batch)
    assert [kept[user].as_of.offset for user in "abc"] == [1, 1, 1]
    kept.trim()
    for user in "abc":
        write(store, user, 2)
    kept.load("abc")  # who is kept is not read again
    assert {u: kept[u].as_of.offset for u in "abc"} == {u: 1 if u in held else 2 for u in "abc"}


def test_what_is_cleared_is_read_again(store: Store) -> None:
    kept = KeptSessions(store, store.keys, 10)
    kept.load(["a"])
    assert kept["a"].events == 0
    write(store, "a", 1)
    kept.clear()
    kept.load(["a"])
    assert kept["a"].events == 1
