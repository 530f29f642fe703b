"""Who holds a lease, and what becomes of it when it runs out or Redis goes away."""

from __future__ import annotations

import pytest

from stream.errors import StoreError
from stream.settings import load_settings
from stream.store import Store
from stream.writes import Plain


def test_one_holds_it_until_he_gives_it_up(store: Store) -> None:
    one, other = store.lease("job", 60), store.lease("job", 60)
    assert one.take()
    assert not other.take()
    assert store.lease("another job", 60).take()
    one.give_up()
    assert other.take()
    assert not one.take()
    other.give_up()


def test_it_ends_by_itself_unless_it_is_renewed(store: Store) -> None:
    lease, key = store.lease("job", 60), store.keys.lease("job")
    assert lease.take()
    store._redis.pexpire(key, 5_000)
    assert lease.renew()
    assert store._redis.pttl(key) > 50_000
    lease.give_up()
    assert store.get(key) is None


def test_one_that_ran_out_is_taken_again_where_nobody_else_has_it(store: Store) -> None:
    lease, key = store.lease("job", 60), store.keys.lease("job")
    assert lease.take()
    store.write_plain([Plain(key, None)])
    assert lease.renew()
    assert not store.lease("job", 60).take()
    lease.give_up()


def test_one_that_somebody_else_has_is_lost_and_not_given_up_for_him(store: Store) -> None:
    lease, key = store.lease("job", 60), store.keys.lease("job")
    assert lease.take()
    store.write_plain([Plain(key, None)])
    other = store.lease("job", 60)
    assert other.take()
    assert not lease.renew()
    lease.give_up()
    assert not store.lease("job", 60).take()
    other.give_up()


def test_while_redis_is_away_it_is_kept_and_can_be_given_up(
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = Store(load_settings(redis={"url": "embedded:"}).redis)
    store = Store(load_settings(redis={"url": server.url}).redis, retry_s=0)
    lease = store.lease("job", 60)
    assert lease.take()
    server.close()
    assert lease.renew()
    assert "could not be renewed" in caplog.text
    lease.give_up()
    assert "could not be given up" in caplog.text
    with pytest.raises(StoreError):
        store.lease("job", 60).take()
    store.close()
