"""The Transformer trained on a shop's warm-up: for the engines that serve it, and for its cost."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any, Final

from benchmarks.place import Vectors, embedded, shelve, unshelve
from benchmarks.shop import write_log
from benchmarks.worker import Worker
from benchmarks.workload import Workload
from consumers.training import KIND
from consumers.training_input import catalogue_of, encode_items
from features.text import load_encoder
from features.vectors import query_vectors
from models.manifest import Manifest
from models.packing import add_to
from models.registry import Registry
from models.tuning import Tuned, tuner_for

__all__ = ["measure"]

EPOCHS: Final = 2
"""Passes: what it costs to serve a model does not depend on how good it is."""


def measure(workload: Workload, registry: Path, known: Vectors) -> dict[str, Any]:
    """Train in a process of its own, and make the model the registry's current one.

    Parameters
    ----------
    workload
        Whose items, and whose warm-up.
    registry
        Folder of the model.
    known
        Vectors of texts that were encoded before; new ones are added.
    """
    with Worker("training", _Trainer, workload, str(registry), known) as worker:
        found, vectors = worker.call("run")
    known.update(vectors)
    result: dict[str, Any] = found
    return result


class _Trainer:
    def __init__(self, workload: Workload, registry: str, known: Vectors) -> None:
        self._workload, self._registry, self._known = workload, registry, known

    def run(self) -> tuple[dict[str, Any], Vectors]:
        with embedded() as (usual, store), tempfile.TemporaryDirectory() as folder:
            shape = usual.transformer.model_copy(update={"epochs": EPOCHS})
            settings = usual.model_copy(update={"transformer": shape})
            encoder = load_encoder(settings.encoder)
            unshelve(store, self._known)
            log = write_log(Path(folder, "items.jsonl"), self._workload.items)
            encode_items(settings, store, encoder, log)
            shelve(store, self._known)
            catalogue = catalogue_of(settings, store, encoder)
            tuner = tuner_for(settings, catalogue, query_vectors(settings, store, encoder))
            for event in self._workload.warm:
                tuner.add(event)
            wall, cpu = time.perf_counter(), time.process_time()
            tuned = tuner.run(encoder=encoder.version)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            names = catalogue.ids[: len(tuned.model.contents)]
        registry = Registry(self._registry)
        about = Manifest(KIND, encoder=encoder.version, seed=settings.transformer.seed)
        registry.promote(add_to(registry, tuned, names, about), "for a benchmark")
        return _figures(tuned, wall, cpu), self._known

    def close(self) -> None:
        """Hold nothing: all ends with the run."""


def _figures(tuned: Tuned, wall: float, cpu: float) -> dict[str, Any]:
    sequences = sum(epoch.sequences for epoch in tuned.trained.epochs)
    return {
        "items": len(tuned.model.contents),
        "interactions": tuned.interactions,
        "users": tuned.users,
        "passes": len(tuned.trained.epochs),
        "sequences": sequences,
        "wall_s": round(wall, 2),
        "sequences_per_s": round(sequences / wall, 1),
        "cpu_ms_per_sequence": round(cpu / max(1, sequences) * 1e3, 3),
    }
