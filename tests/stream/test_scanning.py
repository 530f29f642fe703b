"""The scan of all of Redis for a name: one pass, every type of value, and patience."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from stream.embedded import EmbeddedRedis
from stream.errors import StoreError
from stream.scanning import Sought, in_redis
from stream.settings import RedisSettings
from stream.store import Store
from stream.writes import Plain
from tests.own_redis import PROGRAM

WHO = "zanzibar-17"
LIFE_MS = 600_000
MANY = 5000


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    one = EmbeddedRedis(PROGRAM, str(tmp_path))
    yield one
    one.close()


@pytest.fixture
def store(tmp_path: Path, server: EmbeddedRedis) -> Iterator[Store]:
    one = Store(RedisSettings(url=SecretStr(f"unix://{tmp_path}/redis.sock")), retry_s=30)
    yield one
    one.close()


def fill(store: Store) -> list[str]:
    """Write many keys of others, and one of each type that names him; return the latter."""
    others = [
        Plain(store.keys.session(f"u{n}"), b'{"user":"u%d"}' % n, LIFE_MS) for n in range(MANY)
    ]
    store.write_plain(others)
    commands = [
        ("SET", "rillet:2:string", f'"{WHO}"'),
        ("SET", f"rillet:1:recs:{WHO}", "{}"),
        ("XADD", "rillet:1:stream", "*", "v", f'{{"user":"{WHO}"}}'),
        ("HSET", "rillet:1:hash", WHO, "1"),
        ("RPUSH", "rillet:1:list", "other", WHO),
        ("SADD", "rillet:1:set", WHO),
        ("ZADD", "rillet:1:zset", 1, WHO),
    ]
    for command in (*commands, ("SET", "elsewhere:1", WHO), ("SET", "rillet:1:bob", "bob")):
        store._redis.execute_command(*command)
    store._redis.execute_command("SET", b"rillet:1:odd:\xff", WHO)
    return sorted([str(command[1]) for command in commands] + ["rillet:1:odd:\udcff"])


def test_every_type_of_value_is_found_in_one_pass(store: Store) -> None:
    expected = fill(store)
    store._redis.config_resetstat()
    assert sorted(in_redis(store, Sought([WHO]))) == expected
    scans = store._redis.info("commandstats")["cmdstat_scan"]["calls"]
    assert scans <= MANY // 1000 + 5


def test_a_redis_that_is_restarted_amid_it_is_waited_for_and_read_from_the_beginning(
    store: Store, server: EmbeddedRedis, tmp_path: Path
) -> None:
    expected = fill(store)
    scanned = store.everything()
    seen = {next(scanned)[0]}
    server.close()
    waited: list[EmbeddedRedis] = []

    def start_again(_seconds: float) -> None:
        if not waited:
            waited.append(EmbeddedRedis(PROGRAM, str(tmp_path)))

    store.wait = start_again
    seen |= {key for key, _ in scanned}
    assert len(seen) == MANY + len(expected) + 1
    assert waited
    waited[0].close()


def test_a_redis_that_stays_away_is_an_error_in_our_words(
    store: Store, server: EmbeddedRedis
) -> None:
    fill(store)
    impatient = Store(store.settings, retry_s=0)
    found = in_redis(impatient, Sought([WHO]))
    next(found)
    server.close()
    with pytest.raises(StoreError, match="cannot (read|scan) at unix://") as caught:
        list(found)
    assert "start Redis" in caught.value.mend
    impatient.close()


def test_a_type_that_this_user_may_not_read_is_an_error_not_a_hole(
    store: Store, tmp_path: Path
) -> None:
    fill(store)
    rights = ["on", ">word", "~*", "+get", "+scan", "+xrange"]
    store._redis.execute_command("ACL", "SETUSER", "consumer", *rights)
    url = SecretStr(f"unix://consumer:word@{tmp_path}/redis.sock")
    consumer = Store(RedisSettings(url=url), retry_s=0)
    with pytest.raises(StoreError, match="permission") as caught:
        list(in_redis(consumer, Sought([WHO])))
    assert "docs/security.md" in caught.value.mend
    store._redis.delete("rillet:1:hash", "rillet:1:list", "rillet:1:set", "rillet:1:zset")
    assert len(list(in_redis(consumer, Sought([WHO])))) == 4
    consumer.close()
