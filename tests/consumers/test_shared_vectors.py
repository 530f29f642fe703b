"""Two live processes over one Redis: their items' vectors lie in memory once."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from consumers.view import LiveView
from features.card import AsOf, ItemCard, encode_card
from features.content import SharedContent
from features.text import Encoder
from features.vectors import item_vectors
from models.beside import at_once, in_a_thread
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

WORDS = ("green tea", "black tea", "bicycle bell", "bicycle pump", "teapot")


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    redis = {"url": redis_url, "prefix": tmp_path.name}
    return Settings.model_validate({"redis": redis, "items": {"vectors_dir": str(tmp_path)}})


@pytest.fixture
def store(settings: Settings, encoder: Encoder) -> Iterator[Store]:
    store = Store(settings.redis)
    found = item_vectors(settings, store, encoder).lookup(WORDS)
    store.write_plain(found.writes)
    marks = [plain.key.rpartition(":")[2] for plain in found.writes]
    put(store, {word: mark for word, mark in zip(WORDS, marks, strict=True)})
    yield store
    store.close()


def put(store: Store, marks: dict[str, str]) -> None:
    cards = [ItemCard(AsOf(0, 0, 0), item, text_hash=mark) for item, mark in marks.items()]
    store.write_plain([Plain(store.keys.item(c.item), encode_card(c), 60_000) for c in cards])


def view(settings: Settings, store: Store, encoder: Encoder, every_ms: int = 50) -> LiveView:
    made = LiveView(settings, store, encoder, transition_partitions=1, every_ms=every_ms)
    made.begin()
    return made


def files(folder: Path) -> list[Path]:
    return list((folder / f"rillet-{os.geteuid()}").glob("*"))


def content(of: LiveView) -> SharedContent:
    found = of.world.catalogue._vectors
    assert isinstance(found, SharedContent)
    return found


def test_live_processes_share_what_a_replay_keeps_for_itself(
    settings: Settings, store: Store, encoder: Encoder, tmp_path: Path
) -> None:
    alone = view(settings, store, encoder, every_ms=0)
    assert files(tmp_path) == []
    assert alone.world.beside is at_once
    one, other = (view(settings, store, encoder) for _ in range(2))
    assert one.world.beside is in_a_thread
    assert len(files(tmp_path)) == 1
    arena = content(other)._arena
    assert arena is not None
    assert arena.used == len(WORDS) + 1
    whole = np.asarray(alone.world.catalogue.vectors)
    for live in (one, other):
        assert live.world.catalogue.ids == alone.world.catalogue.ids
        vectors = live.world.catalogue.vectors
        assert np.asarray(vectors) == pytest.approx(whole, abs=2e-4)
        assert vectors[[2, 0]].tolist() == np.asarray(vectors)[[2, 0]].tolist()


def test_nothing_is_shared_where_no_folder_is_named(
    settings: Settings, store: Store, encoder: Encoder, tmp_path: Path
) -> None:
    items = settings.items.model_copy(update={"vectors_dir": ""})
    alone = view(settings.model_copy(update={"items": items}), store, encoder)
    assert files(tmp_path) == []
    assert alone.world.catalogue.has_vector.all()


def test_where_the_folder_cannot_be_used_each_keeps_its_own(
    settings: Settings,
    store: Store,
    encoder: Encoder,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (tmp_path / f"rillet-{os.geteuid()}").write_text("in the way")
    made = view(settings, store, encoder)
    assert not content(made).shared
    assert "are not shared" in caplog.text
    whole = np.asarray(view(settings, store, encoder, every_ms=0).world.catalogue.vectors)
    assert np.asarray(made.world.catalogue.vectors) == pytest.approx(whole, abs=2e-4)
