"""Processor time an event as the catalogue grows: the engine over a log, without Kafka."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from benchmarks.place import embedded
from benchmarks.workload import Sizes, cut
from consumers.replay import Replay, Replayed
from features.text import TextEncoder, load_encoder
from stream.events import Event, Field, Item, encode
from stream.log import LogWriter
from stream.settings import Settings

__all__ = ["HOW", "bare", "measure"]

Say = Callable[[str], None]

HOW: Final = (
    "an item has its categories, maker, price and a random unit vector of its own, but no title "
    "and no description to encode; personalize and neighbours take turns in one process, with an "
    "embedded Redis and without Kafka"
)
DIM: Final = 32
TEXTS: Final = ("title", "description")


def measure(sizes: Sizes, catalogues: Sequence[int], say: Say) -> dict[str, Any]:
    """Replay the same shop with ever more items; rounds of all sizes take turns.

    Parameters
    ----------
    sizes
        The shop, but for its items.
    catalogues
        How many items.
    say
        Told what is going on.
    """
    encoder = load_encoder(Settings().encoder)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rillet-bench-")))
        shops = []
        for items in catalogues:
            say(f"scaling: warm-up with {items:,} items")
            shops.append(_Shop(replace(sizes, items=items), encoder, folder, stack))
        runs: list[list[Replayed]] = [[] for _ in shops]
        for number in range(sizes.rounds):
            say(f"scaling: round {number + 1}")
            for shop, its in zip(shops, runs, strict=True):
                its.append(shop.round(number))
    rows = [_row(items, its) for items, its in zip(catalogues, runs, strict=True)]
    return {"how": HOW, "sizes": sizes.as_dict(), "catalogues": rows}


class _Shop:
    """One size: a replay that goes on from round to round."""

    def __init__(self, sizes: Sizes, encoder: TextEncoder, folder: Path, stack: ExitStack) -> None:
        workload = cut(sizes)
        items = [bare(item, number) for number, item in enumerate(workload.items)]
        settings, store = stack.enter_context(embedded())
        self._replay = Replay(settings, store, encoder)
        self._replay.run(_log(folder / f"{sizes.items}-warm.jsonl", [*items, *workload.warm]))
        self._logs = [
            _log(folder / f"{sizes.items}-{number}.jsonl", events)
            for number, events in enumerate(workload.rounds)
        ]

    def round(self, number: int) -> Replayed:
        return self._replay.run(self._logs[number])


def bare(item: Item, number: int) -> Item:
    """Return an item with a random vector instead of its texts; the same number, the same one."""
    values = np.random.default_rng([number, DIM]).normal(size=DIM)
    vector = [round(float(value), 4) for value in values / np.linalg.norm(values)]
    kept = [field for field in item.fields if field.name not in TEXTS]
    fields = [*kept, Field("vector:own", list[str | float](vector))]
    return Item(timestamp=item.timestamp, id=item.id, item=item.item, fields=fields)


def _log(path: Path, events: Iterable[Event]) -> Path:
    with LogWriter(path) as log:
        for event in events:
            log.write(encode(event))
    return path


def _row(items: int, runs: Sequence[Replayed]) -> dict[str, Any]:
    cpu = [run.cpu_us_per_event for run in runs]
    return {
        "items": items,
        "cpu_us_per_event": round(statistics.median(cpu), 1),
        "cpu_us_per_event_rounds": [round(one, 1) for one in cpu],
        "events_per_s": round(statistics.median(run.events / run.wall_s for run in runs), 1),
    }
