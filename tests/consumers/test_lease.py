"""One process trains at a time: the lease as the commands and the job hold it."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from consumers.lease import LEASE, alone
from stream.errors import BusyError
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    one = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield one
    one.close()


def test_the_second_is_told_what_to_do(store: Store) -> None:
    with alone(store) as still:
        still()
        with pytest.raises(BusyError, match="another process trains") as caught, alone(store):
            pass
        assert "wait until it is done" in caught.value.mend
        still()
    with alone(store):
        pass


def test_one_that_lost_it_is_told_at_the_next_question(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.lease.LEASE_S", 0.3)
    key = store.keys.lease(LEASE)
    with alone(store) as still:
        store.write_plain([Plain(key, b"of another process", 60_000)])
        with pytest.raises(BusyError, match="meanwhile"):  # noqa: PT012
            for _ in range(500):
                still()
                threading.Event().wait(0.01)
    assert store.get(key) == b"of another process"
