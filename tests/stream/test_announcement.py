from __future__ import annotations

import json

import pytest

from stream.announcement import Announced, announce, announced
from stream.errors import StoreError
from stream.settings import RedisSettings, load_settings
from stream.store import Store
from stream.writes import Plain

NEWS = Announced("20261124T183000-ab12cd", "s3://shop/models", 1_795_545_000_000)


def test_what_was_announced_is_known(store: Store) -> None:
    assert announced(store, "sequence") is None
    announce(store, "sequence", NEWS)
    assert announced(store, "sequence") == NEWS
    assert announced(store, "encoder") is None
    later = Announced("20261125T183000-ab12cd", NEWS.registry, NEWS.at + 1)
    announce(store, "sequence", later)
    assert announced(store, "sequence") == later


def test_its_key_and_value_are_as_documented(store: Store) -> None:
    announce(store, "encoder", NEWS)
    key = f"{store.settings.prefix}:1:model:encoder"
    raw = store.get(key)
    assert raw is not None
    assert set(json.loads(raw)) == {"version", "registry", "at"}
    left = store._redis.pttl(key)
    assert 0 < left <= store.ttl_ms


@pytest.mark.parametrize("value", [b"", b"{}", b'{"version":3}', b"\xff"])
def test_what_cannot_be_read_is_passed_over(
    store: Store, value: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    store.write_plain([Plain(store.keys.model("sequence"), value, 1000)])
    assert announced(store, "sequence") is None
    assert "passed over" in caplog.text


def test_without_redis_it_is_an_error() -> None:
    settings: RedisSettings = load_settings(redis={"url": "redis://127.0.0.1:1/0"}).redis
    store = Store(settings, retry_s=0)
    with pytest.raises(StoreError):
        announce(store, "sequence", NEWS)
    store.close()
