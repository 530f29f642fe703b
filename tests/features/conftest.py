from __future__ import annotations

from collections.abc import Iterator

import pytest

from features.text import Encoder, load_encoder
from stream.settings import EncoderSettings, RedisSettings
from stream.store import Store


@pytest.fixture(scope="session")
def encoder() -> Encoder:
    return load_encoder(EncoderSettings())


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Store]:
    store = Store(RedisSettings.model_validate({"url": "embedded:"}))
    yield store
    store.close()


@pytest.fixture
def store(redis_server: Store, request: pytest.FixtureRequest) -> Iterator[Store]:
    """A store of one test's own on the shared server: its prefix is the test's name."""
    settings = {"url": redis_server.url, "prefix": f"test-{request.node.name[:60]}"}
    store = Store(RedisSettings.model_validate(settings))
    yield store
    store.close()
