from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stream.errors import StoreError
from stream.settings import RedisSettings
from stream.store import CHUNK, Store
from stream.writes import Plain, Refused, Stamped, Writes, stamp_head
from tests.stream.conftest import StoreMaker


def stamped(key: str, offset: int, partition: int = 0, ttl_ms: int = 60_000) -> Stamped:
    value = stamp_head(partition, offset) + b'},"x":"' + b"y" * 200 + b'"}'
    return Stamped(key, value, partition, offset, ttl_ms)


def raw(store: Store, command: str, *args: object) -> object:
    """Ask Redis what the store has no question for."""
    return store._redis.execute_command(command, *args)


def test_get_many_keeps_order_over_several_chunks(store: Store) -> None:
    keys = [store.keys.item(f"i{n}") for n in range(2 * CHUNK + 3)]
    store.write_plain([Plain(key, key.encode(), 60_000) for key in keys[::2]])
    expected = [key.encode() if n % 2 == 0 else None for n, key in enumerate(keys)]
    assert store.get_many(keys) == expected
    assert store.get_many([]) == []


def test_an_older_stamp_is_refused_and_reported(store: Store) -> None:
    key = store.keys.session("u")
    assert store.write_stamped([stamped(key, 7)]) == []
    assert store.write_stamped([stamped(key, 6)]) == [Refused(key, 6, 7)]
    assert store.get(key) == stamped(key, 7).value


def test_of_many_only_the_older_are_refused(store: Store) -> None:
    """Many go in one command where one server has them all."""
    keys = [store.keys.session(f"u{n}") for n in range(CHUNK + 70)]
    newer = {key: stamped(key, 9) for key in keys[::3]}
    store.write_stamped(list(newer.values()))
    refused = store.write_stamped([stamped(key, 8) for key in keys])
    assert refused == [Refused(key, 8, 9) for key in newer]
    expected = [newer.get(key, stamped(key, 8)).value for key in keys]
    assert store.get_many(keys) == expected


def test_of_one_key_the_last_of_a_batch_stays(store: Store) -> None:
    key, other = store.keys.session("u"), store.keys.session("v")
    batch = [stamped(key if n % 2 else other, n // 50, partition=n) for n in range(100)]
    assert store.write_stamped(batch) == []
    assert store.get_many([key, other]) == [batch[99].value, batch[98].value]


def test_one_value_of_another_type_is_a_store_error(store: Store) -> None:
    keys = [store.keys.session(f"u{n}") for n in range(40)]
    raw(store, "RPUSH", keys[20], "no state")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.write_stamped([stamped(key, 1) for key in keys])


@pytest.mark.parametrize("offset", [7, 8, 2**52])
def test_an_equal_or_newer_stamp_is_written(store: Store, offset: int) -> None:
    key = store.keys.session("u")
    store.write_stamped([stamped(key, 7)])
    assert store.write_stamped([stamped(key, offset)]) == []
    assert store.get(key) == stamped(key, offset).value


def test_a_stamp_of_another_partition_is_written(store: Store) -> None:
    key = store.keys.session("u")
    store.write_stamped([stamped(key, 700)])
    assert store.write_stamped([stamped(key, 3, partition=1)]) == []


def test_a_value_without_stamp_is_replaced(store: Store) -> None:
    key = store.keys.session("u")
    store.write_plain([Plain(key, b"garbage", 60_000)])
    assert store.write_stamped([stamped(key, 0)]) == []


def test_the_longest_stamp_fits_what_the_guard_reads(store: Store) -> None:
    key = store.keys.session("u")
    huge = stamped(key, 2**53, partition=2**31 - 1)
    store.write_stamped([huge])
    late = stamped(key, 2**53 - 1, partition=2**31 - 1)
    assert store.write_stamped([late]) == [Refused(key, 2**53 - 1, 2**53)]


def test_every_write_has_a_life(store: Store) -> None:
    session, recs = store.keys.session("u"), store.keys.recs("u")
    store.write(
        Writes(stamped=[stamped(session, 0)], plain=[Plain(recs, b"{}", 60_000)], changes=[b"item"])
    )
    for key in (session, recs, store.keys.changes()):
        assert int(str(raw(store, "PTTL", key))) > 0
    with pytest.raises(ValueError, match="no TTL"):
        store.write_plain([Plain(recs, b"{}")])


def test_none_deletes(store: Store) -> None:
    key = store.keys.recs("u")
    store.write_plain([Plain(key, b"{}", 60_000), Plain(key, None)])
    assert store.get(key) is None


def test_a_forgotten_script_is_loaded_again(store: Store) -> None:
    key = store.keys.session("u")
    store.write_stamped([stamped(key, 1)])
    raw(store, "SCRIPT", "FLUSH")
    assert store.write_stamped([stamped(key, 2), stamped(key, 1)]) == [Refused(key, 1, 2)]
    raw(store, "SCRIPT", "FLUSH")
    many = [stamped(store.keys.session(f"u{n}"), 3) for n in range(100)]
    assert store.write_stamped([*many, stamped(key, 1)]) == [Refused(key, 1, 2)]
    assert store.get_many([one.key for one in many]) == [one.value for one in many]


def test_scan_gives_names_and_values_of_one_kind(reach: dict[str, Any]) -> None:
    store = Store(RedisSettings(**reach, prefix="odd*[x]?"))
    names = ["a", "sku:7", "ä b", "*", *(f"i{n}" for n in range(1500))]
    store.write_plain([Plain(store.keys.item(name), name.encode(), 60_000) for name in names])
    store.write_plain([Plain(store.keys.item_state("a"), b"other", 60_000)])
    assert dict(store.scan("item")) == {name: name.encode() for name in names}
    assert set(store.names("item")) == set(names)
    store.close()


def test_changes_are_read_once_and_in_order(store: Store) -> None:
    start = store.changes_position()
    assert store.read_changes(start).entries == []
    store.add_changes([b"a", b"b"])
    first = store.read_changes(start, limit=1)
    second = store.read_changes(first.position)
    assert (first.entries, second.entries, first.gap, second.gap) == ([b"a"], [b"b"], False, False)
    assert store.read_changes(second.position).entries == []


def test_a_reader_left_behind_by_the_feed_learns_of_the_gap(store: Store) -> None:
    store.add_changes([b"a", b"b", b"c"])
    position = store.read_changes("0-0", limit=1).position
    raw(store, "XTRIM", store.keys.changes(), "MAXLEN", 1)
    assert store.read_changes(position).gap
    raw(store, "DEL", store.keys.changes())
    assert store.read_changes(position).gap


def test_the_feed_stays_short(redis_url: str) -> None:
    settings = RedisSettings(url=SecretStr(redis_url), prefix="short", changes=100)
    store = Store(settings)
    store.add_changes([b"x"] * 5000)
    assert int(str(raw(store, "XLEN", store.keys.changes()))) < 500
    store.close()


def test_a_refused_command_is_a_store_error(store: Store) -> None:
    raw(store, "RPUSH", store.keys.changes(), "not a stream")
    with pytest.raises(StoreError, match="WRONGTYPE"):
        store.add_changes([b"x"])


def test_an_absent_redis_is_a_store_error_that_says_how_to_mend_it() -> None:
    store = Store(RedisSettings(url=SecretStr("redis://:secret@127.0.0.1:1/0")), retry_s=0)
    with pytest.raises(StoreError, match="127.0.0.1:1") as caught:
        store.get("x")
    assert "redis.url" in caught.value.mend
    assert "secret" not in str(caught.value)


def test_a_malformed_url_is_a_store_error() -> None:
    with pytest.raises(StoreError, match=r"redis\.url"):
        Store(RedisSettings(url=SecretStr("http://127.0.0.1")))


def test_waiting_is_the_callers_and_ends(tmp_path: Path) -> None:
    store = Store(RedisSettings(url=SecretStr(f"unix://{tmp_path}/no.sock")), retry_s=0.3)
    waits: list[float] = []
    store.wait = waits.append
    with pytest.raises(StoreError):
        store.get("x")
    assert waits == sorted(waits)
    assert waits


def test_an_embedded_redis_is_shared_and_keeps_its_data(tmp_path: Path) -> None:
    settings = RedisSettings(url=SecretStr(f"embedded:{tmp_path}"))
    first, second = Store(settings), Store(settings)
    first.write_plain([Plain("k", b"v", 60_000)])
    assert second.get("k") == b"v"
    second.close()
    assert first.get("k") == b"v"
    first.close()
    again = Store(settings)
    assert again.get("k") == b"v"
    again.close()


def test_health_tells_what_doctor_shows(store: Store) -> None:
    health = store.health()
    assert health.version.count(".") == 2
    assert health.used_bytes > 0
    assert health.policy == "noeviction"


def test_stores_with_other_prefixes_see_nothing_of_each_other(another_store: StoreMaker) -> None:
    one, other = another_store(), another_store()
    one.write_plain([Plain(one.keys.item("a"), b"x", 60_000)])
    assert dict(other.scan("item")) == {}
