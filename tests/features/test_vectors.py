from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.text import Encoder, load_encoder
from features.vectors import VectorCache, from_bytes, to_bytes, unit_rows, with_own_vectors
from stream.settings import EncoderSettings
from stream.store import Store
from stream.writes import Plain

TEXTS = ["green tea", "black tea", "green  tea", "", "a red bicycle"]


def cache(store: Store, encoder: Encoder) -> VectorCache:
    return VectorCache(store, store.keys, encoder, ttl_ms=60_000)


def test_encodes_each_text_once(store: Store, encoder: Encoder) -> None:
    first = cache(store, encoder)
    vectors = first.vectors(TEXTS)
    assert (first.hits, first.misses) == (0, 3)
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert not vectors[3].any()
    np.testing.assert_array_equal(first.vectors(TEXTS), vectors)
    assert (first.hits, first.misses) == (3, 3)


def test_never_encodes_again_after_a_restart(store: Store, encoder: Encoder) -> None:
    vectors = cache(store, encoder).vectors(TEXTS)
    restarted = cache(store, load_encoder(EncoderSettings()))
    np.testing.assert_array_equal(restarted.vectors(TEXTS), vectors)
    assert (restarted.hits, restarted.misses) == (3, 0)


def test_other_encoder_has_other_vectors(store: Store, encoder: Encoder) -> None:
    cache(store, encoder).vectors(TEXTS)
    other = cache(store, load_encoder(EncoderSettings(max_tokens=16)))
    other.vectors(TEXTS)
    assert other.misses == 3


def test_lookup_leaves_writing_to_the_caller(store: Store, encoder: Encoder) -> None:
    first = cache(store, encoder)
    found = first.lookup(TEXTS)
    assert len(found.writes) == 3
    assert store.get_many([write.key for write in found.writes]) == [None] * 3
    # the writes came to nothing, so the texts are new still
    assert len(first.lookup(TEXTS).writes) == 3
    store.write_plain(found.writes)
    assert first.lookup(TEXTS).writes == []
    assert len(first.lookup(TEXTS, renew=True).writes) == 3


def test_foreign_bytes_are_written_over(store: Store, encoder: Encoder) -> None:
    first = cache(store, encoder)
    (write,) = first.lookup(["green tea"]).writes
    store.write_plain([Plain(write.key, b"\x00\x01", 60_000)])
    assert first.vectors(["green tea"]).any()
    assert store.get(write.key) == write.value


def test_memory_is_bounded(store: Store, encoder: Encoder) -> None:
    small = VectorCache(store, store.keys, encoder, ttl_ms=60_000, remembered=2)
    for _ in range(2):
        small.vectors(TEXTS)
    assert len(small._latest) == 2


def test_store_is_asked_once(store: Store, encoder: Encoder) -> None:
    class Counting:
        asked = 0

        def get_many(self, keys: list[str]) -> list[bytes | None]:
            self.asked += 1
            return store.get_many(keys)

        write_plain = store.write_plain

    counting = Counting()
    first = VectorCache(counting, store.keys, encoder, ttl_ms=60_000)  # type: ignore[arg-type]
    first.vectors(TEXTS)
    first.vectors(TEXTS)
    first.vectors(TEXTS)
    assert counting.asked == 2  # the third time they are remembered


@settings(deadline=None)
@given(st.lists(st.floats(-1, 1, width=16), min_size=1, max_size=50))
def test_bytes_round_trip(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    np.testing.assert_array_equal(from_bytes(to_bytes(vector)), vector)


def test_own_vectors_stand_beside_the_text() -> None:
    rng = np.random.default_rng(1)
    texts = unit_rows(rng.normal(size=(3, 384)))
    texts[2] = 0
    image = unit_rows(rng.normal(size=(1, 512)))[0].tolist()
    mixed = with_own_vectors(texts, [{"image": image}, {"image": image}, {"image": image}], 0.5)
    np.testing.assert_allclose(np.linalg.norm(mixed, axis=1), 1, atol=1e-5)
    alike = mixed @ mixed.T
    assert alike[0, 1] == pytest.approx(0.5 + 0.5 * texts[0] @ texts[1], abs=0.15)
    assert alike[0, 2] == pytest.approx(0.5**0.5, abs=0.15)
    assert mixed[0] @ texts[0] == pytest.approx(0.5**0.5, abs=0.15)
    again = with_own_vectors(texts, [{"image": image}, {}, {}], 0.5)
    np.testing.assert_array_equal(again[0], mixed[0])
    np.testing.assert_allclose(again[1], texts[1], atol=1e-6)
    assert with_own_vectors(texts, [{}, {}, {}], 0.5) is texts


def test_unit_rows_keep_zero() -> None:
    assert unit_rows(np.zeros((2, 3))).tolist() == [[0.0] * 3] * 2
