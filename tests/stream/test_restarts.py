"""Whether a store notices that another Redis answers than the one it wrote to."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream.embedded import EmbeddedRedis
from stream.settings import RedisSettings
from stream.store import Store
from stream.writes import Plain
from tests.own_redis import PROGRAM

LIFE_MS = 60_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    one = Store(RedisSettings(url=SecretStr(f"unix://{tmp_path}/redis.sock"), retry_s=30))
    one.restarts.watching = True
    yield one
    one.close()


def test_a_restart_is_told_once_before_the_command_is_tried_again(
    store: Store, tmp_path: Path
) -> None:
    key, seen = store.keys.session("u"), []
    other = Store(store.settings)
    first = EmbeddedRedis(PROGRAM, str(tmp_path))
    store.write_plain([Plain(key, b"before", LIFE_MS)])
    first.close()
    second = EmbeddedRedis(PROGRAM, str(tmp_path))
    store.restarts.hook = lambda: seen.append(other.get(key))
    store.write_plain([Plain(key, b"after", LIFE_MS)])
    assert seen == [b"before"]
    assert store.get(key) == b"after"
    assert seen == [b"before"]
    second.close()
    other.close()


def test_a_broken_connection_is_no_restart(store: Store, tmp_path: Path) -> None:
    server, told = EmbeddedRedis(PROGRAM, str(tmp_path)), []
    store.restarts.hook = lambda: told.append("restarted")
    key = store.keys.session("u")
    store.write_plain([Plain(key, b"{}", LIFE_MS)])
    other = Store(store.settings)
    other._redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert store.get(key) == b"{}"
    assert told == []
    other.close()
    server.close()


def test_who_may_not_ask_is_served_all_the_same(store: Store, tmp_path: Path) -> None:
    server, key = EmbeddedRedis(PROGRAM, str(tmp_path)), store.keys.recs("u")
    store.write_plain([Plain(key, b"{}", LIFE_MS)])
    store._redis.execute_command("ACL", "SETUSER", "reader", "on", ">word", "~*", "+get", "+mget")
    url = SecretStr(f"unix://reader:word@{tmp_path}/redis.sock")
    reader = Store(RedisSettings(url=url), retry_s=0)
    reader.restarts.watching = True
    assert reader.get(key) == b"{}"
    reader.close()
    server.close()


def test_what_another_thread_found_is_told_to_the_owner_before_he_writes(
    store: Store, tmp_path: Path
) -> None:
    class GivenUpError(Exception):
        pass

    def give_up() -> None:
        raise GivenUpError

    key = store.keys.session("u")
    first = EmbeddedRedis(PROGRAM, str(tmp_path))
    store.write_plain([Plain(key, b"before", LIFE_MS)])
    store.restarts.hook, store.restarts.owner = give_up, threading.get_ident()
    first.close()
    second = EmbeddedRedis(PROGRAM, str(tmp_path))
    other = threading.Thread(target=store.get, args=[key])
    other.start()
    other.join()  # the pool's connection is one to the new server now
    with pytest.raises(GivenUpError):
        store.write_plain([Plain(key, b"after", LIFE_MS)])
    assert store.get(key) == b"before"
    second.close()
