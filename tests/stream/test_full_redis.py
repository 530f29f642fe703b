"""A Redis that is full is waited for, whatever its version says of a script that found it so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from pydantic import SecretStr

from stream.errors import StoreError
from stream.redis_errors import mend, passes
from stream.settings import RedisSettings
from stream.store import Store
from stream.writes import Stamped, stamp_head


@pytest.fixture
def full(tmp_path: Path) -> Iterator[Store]:
    """Yield a store over an embedded Redis, which is of version 6.2, that takes nothing more."""
    store = Store(RedisSettings(url=SecretStr(f"embedded:{tmp_path}")), retry_s=5.0)
    store._redis.config_set("maxmemory", 1)
    yield store
    store.close()


def stamped(n: int) -> Stamped:
    return Stamped(f"k{n}", stamp_head(0, 7) + b"}}", 0, 7, 60_000)


def test_what_is_stamped_waits_until_there_is_room(full: Store) -> None:
    waits: list[float] = []

    def room(seconds: float) -> None:
        waits.append(seconds)
        full._redis.config_set("maxmemory", 0)

    full.wait = room
    batch = [stamped(n) for n in range(40)]
    assert full.write_stamped(batch) == []
    assert waits
    assert full.get_many([one.key for one in batch]) == [one.value for one in batch]


def test_where_none_comes_the_error_says_what_to_do(full: Store) -> None:
    full.wait, full._retry_s = lambda _: None, 0.1
    with pytest.raises(StoreError, match="maxmemory") as caught:
        full.write_stamped([stamped(0)])
    assert "Redis is full" in caught.value.mend


@pytest.mark.parametrize(
    ("said", "passing"),
    [
        ("@user_script: 12: -OOM command not allowed when used memory > 'maxmemory'.", True),
        ("@user_script: 12: -READONLY You can't write against a read only replica.", True),
        ("@user_script: 12: -MISCONF Errors writing to the AOF file", True),
        ("@user_script:6: WRONGTYPE Operation against a key holding the wrong kind", False),
        ("-OOM is what somebody called his key", False),
    ],
)
def test_only_what_passes_is_waited_for(said: str, passing: bool) -> None:
    error = redis.ResponseError(f"Error running script (call to f_10ce): @user_script:12: {said}")
    assert passes(error) is passing
    assert (mend(error, tls=False) != "") is ("-OOM command" in said)
