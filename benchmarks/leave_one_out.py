"""Rillet's Transformer beside RecTools' SASRec: the last item of each user, left out.

    python -m benchmarks.leave_one_out events.jsonl.gz
    python -m benchmarks.leave_one_out events.jsonl.gz --system rillet --block sasrec
    python -m benchmarks.leave_one_out events.jsonl.gz --target validation

Protocol: of each user the first positive interaction with each item counts, in the order
of time; users with fewer than five are left out, from training too. The last one is asked
about, everything before it is trained on, by both systems for the same number of passes.
Each system names its ten best items of the whole catalogue without those the user had;
the same code marks both. Rillet is told when it is asked, as it is when it serves. Speeds
are by CPU second, which a busy machine changes less than the clock's.

Rillet's shape and training are those of the settings (``RILLET_TRANSFORMER__DIM=128``)
but for the passes: all of them are made, nothing is held out to stop early. RecTools gets
its own shape (256 wide, 100 long), and Rillet's; its loss is the softmax over all items
and its other settings are its defaults. It lives in an environment of its own
(``build/rectools-venv``), made by the first run: minutes, and 3 GB on the disk.

To choose settings ask with ``--target validation`` for the interaction before the last,
the last one being unknown to everybody; what is reported was not chosen by.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.environment import describe
from benchmarks.rectools_home import Shape, ask_rectools, environment
from consumers.training_input import catalogue_of, encode_items, events_of
from features.catalogue import Catalogue
from features.parts.base import Rules
from features.text import load_encoder
from features.vectors import VectorCache
from models.examine import contexts, marks_of
from models.interactions import Recorder
from models.sequence import SequenceModel
from models.training_data import Material, batch_of
from models.tuning import Tuner, config_of, network_of
from stream.events import Event, Interaction
from stream.settings import Settings, load_settings
from stream.store import DAY_MS, Store

LEAST: Final = 5
"""Interactions with different items that a user has to have."""

TOP: Final = 10
AT_ONCE: Final = 256

Row: TypeAlias = dict[str, Any]
Lists: TypeAlias = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class Task:
    """What is trained on and asked about.

    Attributes
    ----------
    known
        Interactions to train on, in the order of time.
    asked
        One interaction of each user.
    """

    known: list[Interaction]
    asked: list[Interaction]


def first_ones(events: Iterable[Event], rules: Rules) -> list[Interaction]:
    """Return each user's first positive interaction with each item, in the order of time."""
    found = [one for one in events if isinstance(one, Interaction) and rules.role(one)[0] > 0]
    found.sort(key=lambda one: int(one.timestamp))  # stable: ties stay as they are in the log
    seen: set[tuple[str, str]] = set()
    kept = []
    for one in found:
        pair = (str(one.user), one.item)
        if one.user is not None and pair not in seen:
            seen.add(pair)
            kept.append(one)
    return kept


def leave_one_out(found: Sequence[Interaction], least: int, skip: int = 0) -> Task:
    """Split users' interactions into what is known and the one that is asked about.

    Parameters
    ----------
    found
        In the order of time.
    least
        Users with fewer are left out.
    skip
        How many of each user's last ones nobody is told of: 1 asks for the last but one.
    """
    places: dict[str, list[int]] = {}
    for place, one in enumerate(found):
        places.setdefault(str(one.user), []).append(place)
    enough = [mine[: len(mine) - skip] for mine in places.values() if len(mine) >= least]
    known = sorted(place for mine in enough for place in mine[:-1])
    return Task([found[place] for place in known], [found[mine[-1]] for mine in enough])


def places_in(lists: Lists, wanted: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the place of each item wanted in its list, from 0; infinity where it is not there.

    Parameters
    ----------
    lists
        (Q, k) items, best first, -1 for none.
    wanted
        (Q,) items.
    """
    hit = lists == wanted[:, None]
    return np.where(hit.any(axis=1), hit.argmax(axis=1), np.inf)


def top_lists(
    model: SequenceModel, material: Material, places: NDArray[np.integer], k: int
) -> Lists:
    """Return the best items that a user has not had before: (Q, k) rows.

    Parameters
    ----------
    model
        Over the whole catalogue.
    material
        The interactions, with those asked about.
    places
        (Q,) which are asked about.
    k
        Items of a list.
    """
    data, queries = material.data, torch.from_numpy(material.queries)
    begins = np.searchsorted(data.user, data.user[places])
    lists = np.full((len(places), k), -1, dtype=np.int64)
    model.eval()
    with torch.inference_mode():
        table = model.items()
        for first in range(0, len(places), AT_ONCE):
            some = places[first : first + AT_ONCE]
            at, after, last = contexts(data, some, model.config.length)
            outputs = model(batch_of(data, at, queries, after), table)
            odds = outputs[torch.arange(len(some)), torch.from_numpy(last)] @ table.T
            for row, (begin, end) in enumerate(
                zip(begins[first : first + AT_ONCE], some, strict=True)
            ):
                odds[row, torch.from_numpy(data.item[begin:end].astype(np.int64))] = -torch.inf
            lists[first : first + AT_ONCE] = odds.topk(k, dim=1).indices.numpy()
    return lists


class Bench:
    """A log, its catalogue, and the task.

    Parameters
    ----------
    settings
        Of Rillet.
    store
        Takes the items.
    log
        Path of the log.
    least, skip
        See :func:`leave_one_out`.
    """

    def __init__(
        self, settings: Settings, store: Store, log: str, least: int = LEAST, skip: int = 0
    ) -> None:
        self.settings, self._rules = settings, Rules(settings.session, settings.interactions)
        encoder = load_encoder(settings.encoder)
        encode_items(settings, store, encoder, log)
        self.catalogue: Catalogue = catalogue_of(settings, store, encoder)
        self._queries = VectorCache(store, store.keys, encoder, ttl_ms=DAY_MS)
        self.task = leave_one_out(first_ones(events_of(settings, log), self._rules), least, skip)
        names = [one.item for one in (*self.task.known, *self.task.asked)]
        self.catalogue.rows_of(names)
        self.users = {str(one.user): row for row, one in enumerate(self.task.asked)}
        self.wanted = self.catalogue.rows_of([one.item for one in self.task.asked])

    def rillet(self, epochs: int, seed: int, **changes: Any) -> Row:
        """Train Rillet's network and ask it.

        Parameters
        ----------
        epochs, seed
            Of the training.
        changes
            Fields of :class:`SequenceConfig` or :class:`TrainConfig` unlike the settings'.
        """
        config = dataclasses.replace(
            config_of(self.settings), epochs=epochs, patience=epochs, holdout=0.0, seed=seed
        )
        network = network_of(self.settings.transformer, self.catalogue.dim)
        shape = {name: value for name, value in changes.items() if hasattr(network, name)}
        rest = {name: value for name, value in changes.items() if name not in shape}
        network, config = dataclasses.replace(network, **shape), dataclasses.replace(config, **rest)
        recorder = Recorder(self.catalogue.ensure, self._rules)
        tuner = Tuner(self.catalogue, self._queries, recorder, network, config)
        for one in self.task.known:
            tuner.add(one)
        begun, begun_cpu = time.perf_counter(), time.process_time()
        tuned = tuner.run(watch=_watch("Rillet", epochs))
        books = {"seconds": time.perf_counter() - begun}
        books["cpu_seconds"] = time.process_time() - begun_cpu
        for one in self.task.asked:
            tuner.add(one)
        data = tuner.columns()
        places = np.flatnonzero(np.r_[data.user[1:] != data.user[:-1], True])
        material = Material(data, np.zeros((0, 1), dtype=np.float32))
        found = top_lists(tuned.model, material, places, TOP)
        # Users have numbers of the order in which they came.
        order = list(dict.fromkeys(str(one.user) for one in self.task.known))
        lists = np.zeros_like(found)
        lists[[self.users[order[number]] for number in data.user[places]]] = found
        books["sequences"] = sum(one.sequences for one in tuned.trained.epochs)
        taught = tuned.trained.predictions[0] - len(order)  # nobody's first one is foretold
        books["interactions"] = taught * epochs
        return self._row(lists, books) | {"seed": seed}

    def rectools(self, python: Path, shape: Shape, *, categories: bool) -> Row:
        """Train RecTools' SASRec and ask it."""
        known = self.task.known
        user = np.array([self.users[str(one.user)] for one in known], dtype=np.int64)
        item = self.catalogue.rows_of([one.item for one in known])
        pairs = np.zeros((0, 2), dtype=np.int64)
        if categories:
            row, column = np.nonzero(self.catalogue.category >= 0)
            pairs = np.stack([row, self.catalogue.category[row, column]], axis=1).astype(np.int64)
        task = {"user": user, "item": item, "asked": np.arange(len(self.users)), "category": pairs}
        print(f"RecTools: training, {shape.epochs} passes", file=sys.stderr, flush=True)
        lists, books = ask_rectools(python, task, shape, TOP)
        return self._row(lists, books) | {"version": books["version"], "seed": shape.seed}

    def _row(self, lists: Lists, books: Row) -> Row:
        marks = marks_of(places_in(lists, self.wanted))
        took = books["cpu_seconds"]
        return {name: float(mark.mean()) for name, mark in marks.items()} | {
            "seconds": books["seconds"],
            "cpu_seconds": took,
            "sequences_cpu_s": books["sequences"] / took,
            "interactions_cpu_s": books["interactions"] / took,
        }

    def facts(self) -> Row:
        """Return what the task is made of."""
        known = {one.item for one in self.task.known}
        cold = sum(one.item not in known for one in self.task.asked)
        return {
            "users": len(self.task.asked),
            "known": len(self.task.known),
            "catalogue": len(self.catalogue),
            "items_known": len(known),
            "asked_about_unknown_items": cold,
        }


def _watch(name: str, epochs: int) -> Callable[[int, int, float], None]:
    done = [0]

    def watch(step: int, steps: int, loss: float) -> None:
        if step == steps:
            done[0] += 1
            told = f"{name}: pass {done[0]} of {epochs}, loss {loss:.3f}"
            print(told, file=sys.stderr, flush=True)

    return watch


def systems(bench: Bench, given: argparse.Namespace) -> Iterator[tuple[str, Row]]:
    """Yield each system's name and its figures, seed by seed."""
    net = bench.settings.transformer
    same = {"n_factors": net.dim, "n_blocks": net.layers, "n_heads": net.heads}
    same |= {"session_max_len": net.length, "batch_size": net.batch}
    python = environment(given.environment) if "rectools" in given.system else None
    for seed in range(given.seeds):
        if "rillet" in given.system:
            yield "Rillet", bench.rillet(given.epochs, seed)
        if "ids" in given.system:
            yield "Rillet, ids alone", bench.rillet(given.epochs, seed, content=False)
        for name, shape in {"its own shape": {}, "same shape": same}.items():
            if python is None or (name == "its own shape" and given.same_shape):
                continue
            asked = Shape(given.epochs, seed, given.threads, lr=given.rectools_rate, **shape)
            yield f"RecTools, {name}", bench.rectools(python, asked, categories=False)
            if bench.catalogue.category_names and name == "same shape":
                row = bench.rectools(python, asked, categories=True)
                yield f"RecTools, {name}, categories", row


def main() -> None:
    """Parse the command line, run, and print a table."""
    given = _parser().parse_args()
    torch.set_num_threads(given.threads)
    settings = load_settings(
        None, redis={"url": "embedded:"}, transformer={"block": given.block} if given.block else {}
    )
    found: dict[str, list[Row]] = {}
    store = Store(settings.redis)
    try:
        bench = Bench(settings, store, given.log, given.least, int(given.target == "validation"))
        facts = bench.facts()
        print(", ".join(f"{name} {value:,}" for name, value in facts.items()))
        for name, row in systems(bench, given):
            found.setdefault(name, []).append(row)
            print(f"{name}: NDCG@10 {row['ndcg@10']:.4f}", file=sys.stderr, flush=True)
            if given.json:
                about = {"environment": describe(), "task": facts, "epochs": given.epochs}
                about |= {"threads": given.threads, "target": given.target, "systems": found}
                about["transformer"] = settings.transformer.model_dump()
                Path(given.json).write_text(json.dumps(about, indent=1), encoding="utf-8")
    finally:
        store.close()
    show(found)


def _parser() -> argparse.ArgumentParser:
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("log", help="an event log")
    parser.add_argument(
        "--system",
        nargs="+",
        choices=("rillet", "ids", "rectools"),
        default=["rillet", "ids", "rectools"],
        help="which ones; `ids` is Rillet without content vectors (default: all)",
    )
    parser.add_argument("--epochs", type=int, default=10, help="passes of each (default: 10)")
    parser.add_argument("--seeds", type=int, default=1, help="0, 1, ... (default: 1)")
    parser.add_argument("--threads", type=int, default=1, help="of each system (default: 1)")
    parser.add_argument("--least", type=int, default=LEAST, help="items a user has (default: 5)")
    parser.add_argument("--block", choices=("ligr", "sasrec"), help="of Rillet's network")
    parser.add_argument(
        "--same-shape", action="store_true", help="RecTools in Rillet's shape only: quicker"
    )
    parser.add_argument(
        "--rectools-rate", type=float, default=0.001, help="its learning rate (default: 0.001)"
    )
    parser.add_argument(
        "--target",
        choices=("last", "validation"),
        default="last",
        help="validation: ask for the last but one, to choose settings by",
    )
    parser.add_argument(
        "--environment",
        type=Path,
        default=Path("build/rectools-venv"),
        help="where RecTools lives (default: build/rectools-venv)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures as JSON")
    return parser


def show(found: dict[str, list[Row]]) -> None:
    """Print a table: means over the seeds, and after NDCG@10 the standard deviation."""
    print(
        f"{'':<32}{'seeds':>6}{'HR@10':>8}{'NDCG@10':>9}{'+-':>8}"
        f"{'seconds':>9}{'CPU s':>8}{'sequ./s':>9}{'int./s':>9}"
    )
    for name, rows in found.items():
        mean = {key: float(np.mean([row[key] for row in rows])) for key in _SHOWN}
        spread = float(np.std([row["ndcg@10"] for row in rows]))
        print(
            f"{name:<32}{len(rows):>6}{mean['hr@10']:>8.4f}{mean['ndcg@10']:>9.4f}{spread:>8.4f}"
            f"{mean['seconds']:>9.0f}{mean['cpu_seconds']:>8.0f}"
            f"{mean['sequences_cpu_s']:>9.0f}{mean['interactions_cpu_s']:>9,.0f}"
        )


_SHOWN: Final = (
    *("hr@10", "ndcg@10", "seconds", "cpu_seconds"),
    *("sequences_cpu_s", "interactions_cpu_s"),
)


if __name__ == "__main__":
    main()
