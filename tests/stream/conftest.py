from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from stream.settings import RedisSettings
from stream.store import Store

StoreMaker = Callable[[], Store]
_prefixes = itertools.count()


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    server = Store(RedisSettings(url=SecretStr("embedded:")))
    yield server.url
    server.close()


@pytest.fixture
def reach(redis_url: str) -> dict[str, Any]:
    """Settings that reach the Redis of the test."""
    return {"url": redis_url}


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    """A Redis of which the test sees only its own keys."""
    settings = RedisSettings(url=SecretStr(redis_url), prefix=f"test{next(_prefixes)}", retry_s=5)
    one = Store(settings)
    yield one
    one.close()


@pytest.fixture
def another_store(redis_url: str) -> Iterator[StoreMaker]:
    """Makes stores that see nothing of each other."""
    made: list[Store] = []

    def make() -> Store:
        prefix = f"test{next(_prefixes)}"
        made.append(Store(RedisSettings(url=SecretStr(redis_url), prefix=prefix, retry_s=5)))
        return made[-1]

    yield make
    for one in made:
        one.close()
