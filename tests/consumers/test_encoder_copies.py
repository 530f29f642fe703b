"""Copies of tuned encoders on a machine: made where there is none, removed when unused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consumers.encoders import encoder_at
from features.merging import UNUSED_S
from features.model_folder import Base, find_base
from features.text import load_encoder, load_folder
from models.encoder_packing import add_adapter, add_untouched
from models.manifest import Manifest
from models.registry import Registry
from stream.settings import Settings
from tests.tiny_encoder import make_encoder
from tests.tuned import TEXTS, WORDS, home_of

LAYER = "encoder.layer.0.attention.self.query"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    tiny = make_encoder(tmp_path / "tiny", WORDS)
    groups = {"encoder": home_of(tiny), "training": {"registry": str(tmp_path / "models")}}
    return Settings.model_validate(groups)


def tune(settings: Settings, registry: Registry, seed: int) -> str:
    """Add an adapter of chance; return its version."""
    rng = np.random.default_rng(seed)
    arrays = {
        f"{LAYER}.lora_A": rng.normal(size=(2, 32)).astype(np.float32),
        f"{LAYER}.lora_B": rng.normal(size=(32, 2)).astype(np.float32),
    }
    return add_adapter(registry, arrays, find_base(settings.encoder), (2, 2), Manifest("encoder"))


def age(cache: Path) -> None:
    """Let a day pass in which nothing was loaded."""
    for folder in cache.iterdir():
        then = folder.stat().st_mtime - UNUSED_S - 60
        os.utime(folder, (then, then))


def copies(cache: Path, version: str) -> int:
    return len(list(cache.glob(f"*{version}*")))


def test_copies_that_nobody_loads_any_more_are_removed(settings: Settings) -> None:
    registry, cache = Registry(settings.training.registry), settings.encoder.cache_folder
    load_encoder(settings.encoder)
    refused, before, current, other = (tune(settings, registry, seed) for seed in range(4))
    for version in (refused, before, current):
        encoder_at(settings, version)
    for version in (before, current):
        registry.promote(version)
    (cache / "merge-abc_1").mkdir()
    foreign = cache / f"another-{refused}-merged"
    foreign.mkdir()
    age(cache)
    encoder_at(settings, other)
    assert [copies(cache, one) for one in (before, current, other)] == [2, 2, 2]
    assert [one.name for one in cache.glob(f"*{refused}*")] == [foreign.name]
    assert not [*cache.glob("merge-*"), *cache.glob("gone-*")]
    assert (cache / f"{find_base(settings.encoder).name}-fp32-r1").exists()


def test_copies_that_were_loaded_lately_stay(settings: Settings) -> None:
    registry, cache = Registry(settings.training.registry), settings.encoder.cache_folder
    one, two = (tune(settings, registry, seed) for seed in range(2))
    encoder_at(settings, one)
    age(cache)
    encoder_at(settings, one)
    encoder_at(settings, two)
    assert copies(cache, one) == 2


def test_what_was_removed_is_made_anew(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, cache = Registry(settings.training.registry), settings.encoder.cache_folder
    version = tune(settings, registry, 0)
    vectors = encoder_at(settings, version).encode(TEXTS)
    times = []

    def vanishing(given: Any, folder: Path, name: str) -> Any:
        times.append(name)
        if len(times) == 1:  # another process removes it between two steps
            shutil.rmtree(folder)
        return load_folder(given, folder, name)

    monkeypatch.setattr("features.merging.load_folder", vanishing)
    again = encoder_at(settings, version)
    assert len(times) == 2
    assert np.allclose(again.encode(TEXTS), vectors, atol=1e-5)
    assert copies(cache, version) == 2


def test_a_pointer_that_cannot_be_read_removes_nothing(settings: Settings) -> None:
    registry, cache = Registry(settings.training.registry), settings.encoder.cache_folder
    one = tune(settings, registry, 0)
    encoder_at(settings, one)
    base: Base = find_base(settings.encoder)
    (Path(settings.training.registry) / "current-encoder.json").write_text("{")
    age(cache)
    encoder_at(settings, add_untouched(registry, base))
    assert copies(cache, one) == 2
