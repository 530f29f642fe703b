"""The Transformer alone over a log: tuned step by step, asked about what came next.

    python -m benchmarks.sequence events.jsonl.gz --steps 10 --from 0.5

Every prediction ranks the whole catalogue and is made by the model of the step
before. ``fresh`` reads the user's sequence as it is then, ``stale`` as it was
when the model was trained: what a system has that runs now and then.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from consumers.training_input import catalogue_of, encode_items, events_of
from features.catalogue import Catalogue
from features.text import load_encoder
from features.vectors import VectorCache
from models.examine import Exam, marks_of, ranks
from models.interactions import Interactions
from models.training_data import Material
from models.tuning import Tuned, Tuner, tuner_for
from stream.events import Event
from stream.settings import Settings, load_settings
from stream.store import DAY_MS, Store

Row = dict[str, float]


def main() -> None:
    """Parse the command line, run, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", help="an event log")
    parser.add_argument("--steps", type=int, default=10, help="runs of training over the log")
    parser.add_argument("--from", dest="start", type=float, default=0.5, help="measured from")
    parser.add_argument("--ids-alone", action="store_true", help="without content vectors")
    parser.add_argument("--block", choices=("ligr", "sasrec"), default="ligr")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    given = parser.parse_args()
    settings = load_settings(None, redis={"url": "embedded:"}, transformer={"block": given.block})
    found = measure(settings, given.log, given.steps, given.start, content=not given.ids_alone)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as out:
            json.dump(found, out, indent=1)
    show(found)


def measure(
    settings: Settings, log: str, steps: int, start: float, *, content: bool
) -> dict[str, Any]:
    """Tune and ask, step by step.

    Returns
    -------
    dict
        Of each way of reading sequences and each group of questions ``n``,
        ``hr@10``, ``ndcg@10``; seconds and sequences of training.
    """
    store = Store(settings.redis)
    try:
        encoder = load_encoder(settings.encoder)
        encode_items(settings, store, encoder, log)
        catalogue = catalogue_of(settings, store, encoder)
        queries = VectorCache(store, store.keys, encoder, ttl_ms=DAY_MS)
        tuner = tuner_for(settings, catalogue, queries)
        if not content:
            tuner.network = dataclasses.replace(tuner.network, content=False)
        return _run(tuner, catalogue, list(events_of(settings, log)), steps, start)
    finally:
        store.close()


def _run(
    tuner: Tuner, catalogue: Catalogue, events: list[Event], steps: int, start: float
) -> dict[str, Any]:
    took = {"seconds": 0.0, "sequences": 0}
    rows: dict[str, list[np.ndarray[Any, Any]]] = {}
    previous: Tuned | None = None
    for step, part in enumerate(_parts(events, steps)):
        for event in part:
            tuner.add(event)
        if previous is not None and step / steps >= start:
            _ask(previous, tuner.columns(), catalogue, rows)
        if step == steps - 1:
            break
        begun = time.perf_counter()
        previous = tuner.run()
        took["seconds"] += time.perf_counter() - begun
        took["sequences"] += sum(one.sequences for one in previous.trained.epochs)
        print(f"step {step + 1} of {steps}: {took['seconds']:.0f} s", file=sys.stderr, flush=True)
    return {"training": took} | {name: _means(found) for name, found in rows.items()}


def _parts(events: list[Event], steps: int) -> Iterator[list[Event]]:
    for step in range(steps):
        yield events[len(events) * step // steps : len(events) * (step + 1) // steps]


def _ask(
    tuned: Tuned,
    data: Interactions,
    catalogue: Catalogue,
    rows: dict[str, list[np.ndarray[Any, Any]]],
) -> None:
    """Add the ranks of what came after a model's training."""
    model = tuned.model.over(catalogue.vectors.copy())
    wanted = (data.time > tuned.until_ms) & (data.weight > 0)
    alive = np.ones(len(catalogue), dtype=bool)
    material = Material(data, tuner_queries(data), tuned.until_ms + 1)
    exam = Exam(material, wanted, alive)
    places, groups = exam.places(), exam.questions().groups
    fresh = ranks(model, material, places, alive)
    stale = ranks(model, material, places, alive, before_ms=tuned.until_ms + 1)
    rows.setdefault("fresh", []).append(fresh)
    rows.setdefault("stale", []).append(stale)
    for name, chosen in groups.items():
        rows.setdefault(f"fresh, {name}", []).append(fresh[chosen])


def tuner_queries(data: Interactions) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return no vectors: the logs measured here have no searches."""
    if data.queries:
        raise ValueError("a log with searches is measured by `rillet replay --train-every`")
    return np.zeros((0, 1), dtype=np.float32)


def _means(found: list[np.ndarray[Any, Any]]) -> Row:
    rank = np.concatenate(found)
    marks = marks_of(rank)
    return {"n": len(rank)} | {name: float(mark.mean()) for name, mark in marks.items()}


def show(found: dict[str, Any]) -> None:
    """Print a table."""
    took = found["training"]
    speed = took["sequences"] / max(took["seconds"], 1e-9)
    print(f"training: {took['seconds']:.0f} s, {speed:.0f} sequences a second")
    print(f"{'':<22}{'n':>9}{'HR@10':>9}{'NDCG@10':>9}")
    for name, row in found.items():
        if name != "training":
            print(f"{name:<22}{row['n']:>9,}{row['hr@10']:>9.4f}{row['ndcg@10']:>9.4f}")


if __name__ == "__main__":
    main()
