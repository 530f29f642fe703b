"""What a fine-tuned Transformer forgets: the old window asked before and after the new one.

    python -m benchmarks.forgetting events.jsonl.gz --first 0.6 --second 0.8

A model is trained on the first part of a log, then tuned on the second one,
with a sample of the past (``transformer.past``) and without. All are asked
about the end of both parts, which none was trained on: whoever is tuned never
sees the first part's end.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable

import numpy as np

from benchmarks.sequence import tuner_queries
from consumers.training_input import catalogue_of, encode_items, events_of
from features.catalogue import Catalogue
from features.text import load_encoder
from features.vectors import VectorCache
from models.examine import Exam
from models.sequence import SequenceModel
from models.tuning import Tuned, Tuner, tuner_for
from stream.events import Event
from stream.settings import Settings, load_settings
from stream.store import DAY_MS, Store

Row = dict[str, float]
PASTS = (1.0, 0.0)


def main() -> None:
    """Parse the command line, run, and print a table or write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("log", help="an event log")
    parser.add_argument("--first", type=float, default=0.6, help="share that is trained on first")
    parser.add_argument("--second", type=float, default=0.8, help="share up to which it is tuned")
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    given = parser.parse_args()
    if not 0 < given.first < given.second <= 1:
        parser.error("it must be 0 < --first < --second <= 1")
    found = measure(load_settings(None, redis={"url": "embedded:"}), given)
    if given.json:
        with open(given.json, "w", encoding="utf-8") as out:
            json.dump(found, out, indent=1)
    show(found)


def measure(settings: Settings, given: argparse.Namespace) -> dict[str, Row]:
    """Train, tune with and without the sample, and ask.

    Returns
    -------
    dict
        Of each model HR@10 and NDCG@10 on the end of the old and of the new part.
    """
    store = Store(settings.redis)
    try:
        encoder = load_encoder(settings.encoder)
        encode_items(settings, store, encoder, given.log)
        catalogue = catalogue_of(settings, store, encoder)
        queries = VectorCache(store, store.keys, encoder, ttl_ms=DAY_MS)
        events = list(events_of(settings, given.log))
        first, second = (int(share * len(events)) for share in (given.first, given.second))

        def tuner(past: float) -> Tuner:
            changed = settings.transformer.model_copy(update={"past": past})
            return tuner_for(
                settings.model_copy(update={"transformer": changed}), catalogue, queries
            )

        return _run(tuner, catalogue, events[:first], events[first:second])
    finally:
        store.close()


def _run(
    tuner: Callable[[float], Tuner], catalogue: Catalogue, early: list[Event], late: list[Event]
) -> dict[str, Row]:
    old, seconds = _trained(tuner(1.0), early)
    data = old.exam.material.data
    tuner_queries(data)
    hidden = int(data.time[old.exam.wanted].min())
    kept = [event for event in early if int(event.timestamp) < hidden]
    models, found = {}, {"trained": {"seconds": seconds}}
    for past in PASTS:
        one = tuner(past)
        one.begin_with(old.model, old.until_ms + 1)
        name = f"tuned, {past:g} old for each new" if past else "tuned, nothing old"
        models[name], seconds = _trained(one, [*kept, *late])
        found[name] = {"seconds": seconds}
    new = next(iter(models.values())).exam
    found["trained"] |= _asked(old.model.over(catalogue.vectors.copy()), old.exam, new)
    for name, tuned in models.items():
        found[name] |= _asked(tuned.model, old.exam, new)
    return found


def _trained(tuner: Tuner, events: list[Event]) -> tuple[Tuned, float]:
    for event in events:
        tuner.add(event)
    begun = time.perf_counter()
    tuned = tuner.run()
    seconds = time.perf_counter() - begun
    print(f"{len(events):,} events: {seconds:.0f} s", file=sys.stderr, flush=True)
    return tuned, seconds


def _asked(model: SequenceModel, old: Exam, new: Exam) -> Row:
    row: Row = {}
    for name, exam in (("old", old), ("new", new)):
        alive = np.ones(len(model.contents), dtype=bool)  # items may have come since
        alive[: len(exam.alive)] = exam.alive
        marks = dataclasses.replace(exam, alive=alive).marks(model)
        row[f"n {name}"] = len(marks["hr@10"])
        row |= {f"{mark} {name}": float(values.mean()) for mark, values in marks.items()}
    return row


def show(found: dict[str, Row]) -> None:
    """Print a table."""
    names = [f"{mark} {part}" for part in ("old", "new") for mark in ("hr@10", "ndcg@10")]
    row = next(iter(found.values()))
    print(f"questions: {row['n old']:,.0f} old, {row['n new']:,.0f} new")
    print(f"{'':<28}" + "".join(f"{name:>13}" for name in names) + f"{'seconds':>9}")
    for name, row in found.items():
        cells = "".join(f"{row[one]:>13.4f}" for one in names)
        print(f"{name:<28}{cells}{row['seconds']:>9.0f}")


if __name__ == "__main__":
    main()
