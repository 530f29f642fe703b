"""What the running consumers have learned, read by who only reads it."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from features.card import AsOf
from features.catalogue import Catalogue
from models.engine import Engine
from models.head import HeadState
from models.item_stats import ItemStats
from models.sharing import Told
from models.sources.base import World
from rillet.serving.heard import HeardLearners
from rillet.serving.unwritten import Reads, Unwritten
from stream.errors import StoreError
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

LIFE = 60_000


class NoQueries:
    def vectors(self, texts: object) -> object:
        raise AssertionError("nobody asks")


@pytest.fixture
def store() -> Iterator[Store]:
    one = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield one
    one.close()


def engine() -> Engine:
    catalogue = Catalogue(4)
    world = World(catalogue, ItemStats(catalogue, 5), NoQueries(), 1.0)  # type: ignore[arg-type]
    return Engine(Settings(), world)


def told(offset: int, weight: float, name: str = "category") -> bytes:
    state = HeadState({name: weight}, {name: 1.0}, examples=offset, moved=True)
    empty = HeadState({}, {}, examples=0, moved=True)
    return msgspec.json.encode(Told(AsOf(0, offset, 0), {"next": state, "shown": empty}))


def put(store: Store, key: str, raw: bytes) -> None:
    store.write_plain([Plain(key, raw, LIFE)])


def weight_of(one: Engine, name: str = "category") -> float:
    return float(one.weights["next"][0, one.signals.names.index(name)])


def test_parts_of_all_partitions_are_summed_and_followed(store: Store) -> None:
    one, keys = engine(), store.keys
    put(store, keys.learner(0), told(10, 0.5))
    put(store, keys.learner(70), told(10, 0.25))  # beyond a first look there are more
    put(store, keys.learner(5), told(10, 0.125))
    heard = HeardLearners(Settings(), store, one)
    prior = weight_of(one)
    heard.apply(heard.read())
    assert weight_of(one) == pytest.approx(prior + 0.875)
    assert heard.version == "blend-30"
    put(store, keys.taught(0), told(20, 1.0))
    heard.apply(heard.read())
    assert weight_of(one) == pytest.approx(prior + 1.375)
    put(store, keys.taught(0), told(15, 9.0))  # older than what is known
    heard.apply(heard.read())
    assert weight_of(one) == pytest.approx(prior + 1.375)


def test_where_nothing_is_told_the_checkpoints_are_followed(store: Store) -> None:
    settings = Settings.model_validate({"blend": {"share": 0}})
    one = engine()
    heard = HeardLearners(settings, store, one)
    put(store, store.keys.learner(0), told(10, 0.5))
    heard.apply(heard.read())
    prior = weight_of(one)
    put(store, store.keys.learner(0), told(11, 0.75))
    heard.apply(heard.read())
    assert weight_of(one) == pytest.approx(prior + 0.25)


@pytest.mark.parametrize("raw", [b"{", b"[]", told(30, 1.0, name="no such feature")])
def test_what_cannot_be_read_is_left_out(
    store: Store, caplog: pytest.LogCaptureFixture, raw: bytes
) -> None:
    one = engine()
    put(store, store.keys.learner(0), told(10, 0.5))
    heard = HeardLearners(Settings(), store, one)
    heard.apply(heard.read())
    before = weight_of(one)
    put(store, store.keys.taught(0), raw)
    with caplog.at_level(logging.WARNING):
        heard.apply(heard.read())
    assert "partition 0 was taught is left out" in caplog.text
    assert weight_of(one) == before


def test_what_sources_have_learned_is_taken_from_who_has_seen_most(store: Store) -> None:
    one, keys = engine(), store.keys
    for partition, seen in ((0, 10), (1, 40)):
        other = engine()
        other.learned = seen
        put(store, keys.learner(partition), told(1, 0.5))
        put(store, keys.models(partition), other.state())
    heard = HeardLearners(Settings(), store, one)
    heard.apply(heard.read())
    assert one.learned == 40
    assert weight_of(one) != weight_of(engine())  # what the blend has learned came back with it
    put(store, keys.models(0), b"damaged")
    heard.models_every_s = 0.0
    heard.apply(heard.read())
    assert one.learned == 40


def test_what_is_to_be_written_is_kept_and_found(store: Store) -> None:
    vectors = Unwritten(Reads(store))
    put(store, "there", b"1")
    vectors.write_plain([Plain("kept", b"2", LIFE), Plain("gone", None)])
    assert vectors.get_many(["there", "kept", "gone", "kept"]) == [b"1", b"2", None, b"2"]
    assert store.get("kept") is None


def test_only_so_much_is_kept(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rillet.serving.unwritten.MOST", 2)
    vectors = Unwritten(Reads(store))
    for name in "abc":
        vectors.write_plain([Plain(name, name.encode(), LIFE)])
        vectors.get_many(["a"])  # used all the time
    assert vectors.get_many(["a", "b", "c"]) == [b"a", None, b"c"]


def test_an_outage_is_asked_about_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reads, asked = Reads(store), []

    def gone(keys: object) -> None:
        asked.append(keys)
        raise StoreError("gone")

    monkeypatch.setattr(store, "get_many", gone)
    assert Unwritten(reads).get_many(["a", "b"]) == [None, None]
    assert reads.away
    with pytest.raises(StoreError, match="away"):
        reads.get_many(["a"])
    assert len(asked) == 1


def test_settled_weights_are_numbers(store: Store) -> None:
    one = engine()
    heard = HeardLearners(Settings(), store, one)
    heard.apply(heard.read())
    assert np.isfinite(one.weights["next"]).all()
    assert heard.version == "blend-0"
