"""The models of the benchmark: three sound ones, trained on the shop's log, and broken ones."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.place import Place
from benchmarks.worker import Worker
from consumers.training_input import catalogue_of
from features.text import load_encoder
from features.vectors import VectorCache
from models.manifest import WEIGHTS
from models.registry import Registry
from stream.errors import RilletError
from stream.events import Event
from stream.settings import Settings
from stream.store import DAY_MS, Store

__all__ = ["Smithy", "break_file", "prepare"]

SOUND: Final = 3
BROKEN: Final = 3
NOISE: Final = 1e-6
"""By which the weights of a broken model differ, so that it has a name of its own."""


class Smithy:
    """Trains models on what lies in Redis, as ``rillet train`` does, and spoils some.

    Parameters
    ----------
    settings
        Whose Redis has the items, and how to train.
    folder
        The registry in which all models end; none of them is the current one.
    """

    def __init__(self, settings: Settings, folder: str) -> None:
        self._settings, self._folder = settings, Path(folder)

    def train(self, events: Sequence[Event], seed: int) -> tuple[str, float]:
        """Train a model from nothing; return its version, and the seconds that took."""
        from consumers.training import TrainingJob  # torch: not for who publishes

        plain = self._settings.transformer.model_copy(update={"seed": seed})
        settings = self._settings.model_copy(update={"transformer": plain})
        store, encoder = Store(settings.redis), load_encoder(settings.encoder)
        try:
            with tempfile.TemporaryDirectory(prefix="rillet-smithy-") as alone:
                catalogue = catalogue_of(settings, store, encoder)
                queries = VectorCache(store, store.keys, encoder, ttl_ms=DAY_MS)
                # The job promotes the first model of a registry: so each has one of its own.
                registry = Registry(alone)
                outcome = TrainingJob(settings, catalogue, queries, encoder, registry).run(events)
                if outcome is None:
                    raise RilletError("the training came to nothing")
                shutil.copytree(Path(alone, outcome.version), self._folder / outcome.version)
                return outcome.version, outcome.seconds
        finally:
            store.close()

    def spoil(self, version: str, number: int, unusable: bool) -> str:
        """Add a copy of a model; return its version.

        Parameters
        ----------
        version
            Which.
        number
            From 1: the copy's weights differ a little from those of other copies.
        unusable
            Whether it says of itself another shape than its weights have: all files are
            what was written, and still nobody can use it.
        """
        from models.packing import ITEMS  # torch

        registry = Registry(str(self._folder))
        arrays, manifest = registry.load(version)
        files, _ = registry.load_files(version)
        changed: dict[str, Any] = {"notes": [f"copy {number} of {version}, to be broken"]}
        if unusable:
            changed["config"] = manifest.config | {"dim": 2 * int(manifest.config["dim"])}
        arrays = {name: array + array.dtype.type(NOISE * number) for name, array in arrays.items()}
        copy = msgspec.structs.replace(manifest, **changed)
        return registry.add(arrays, copy, {ITEMS: files[ITEMS]})

    def close(self) -> None:
        """Nothing is held."""


def prepare(place: Place, folder: Path, events: Sequence[Event], epochs: int) -> dict[str, Any]:
    """Make the models in a process of its own; torch is not to weigh on who publishes.

    Returns
    -------
    dict
        ``sound`` and ``broken`` versions, ``seconds`` of training each, the ``folder``.
    """
    given = place.settings.transformer.model_copy(update={"epochs": epochs})
    settings = place.settings.model_copy(update={"transformer": given})
    folder.mkdir(parents=True, exist_ok=True)
    with Worker("smithy", Smithy, settings, str(folder)) as smithy:
        trained = [smithy.call("train", events, seed) for seed in range(1, SOUND + 1)]
        sound = [version for version, _ in trained]
        broken = [smithy.call("spoil", sound[0], n, n == 1) for n in range(1, BROKEN + 1)]
    seconds = [round(took, 1) for _, took in trained]
    return {"sound": sound, "broken": broken, "seconds": seconds, "folder": str(folder)}


def break_file(folder: Path, version: str, *, cut: bool) -> None:
    """Cut a model's weights in half, or change one bit of them."""
    file = folder / version / WEIGHTS
    content = bytearray(file.read_bytes())
    if cut:
        del content[len(content) // 2 :]
    else:
        content[-5] ^= 1
    file.write_bytes(content)
