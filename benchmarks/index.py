"""Whether an index finds what comparing every item finds: for its sources, and for the blend.

    python -m benchmarks --only index

A Transformer learns with the rest of the engine on a shop's log; then ever more items come
that nobody has touched. The same questions, those that the users' states ask, are answered
twice: every item compared, and through the indexes that are served.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.filler import CROWD, crowd
from benchmarks.place import Vectors, embedded, shelve, unshelve
from benchmarks.shop import write_log
from benchmarks.workload import Workload
from consumers.replay import Replay
from features.contexts import Question, ask, meaning_of
from features.stored import decode_session
from features.text import load_encoder
from models.engine import Engine
from models.finish import best_of_each
from models.loaded import Loaded
from models.near import NearIndex, nearest
from models.nearby import Nearby
from models.sources.base import World
from models.sources.transformer import Transformer
from models.tuning import Tuned
from stream.errors import RilletError
from stream.settings import Settings
from stream.store import Store

__all__ = ["measure"]

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]
Say = Callable[[str], None]

TOP: Final = 100
"""Of a source's nearest and of the blend's best that are compared."""

EPOCHS: Final = 4
"""Passes of the Transformer."""

HOW: Final = (
    "recall of what comparing every item gives: each source's 100 nearest, the blend's best 100, "
    "and the finished lists; "
) + CROWD


class _Later:
    """Lays an index out when it is told to; until then every item is compared."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Callable[[], NearIndex], Future[NearIndex]]] = []

    def __call__(self, work: Callable[[], NearIndex]) -> Future[NearIndex]:
        coming: Future[NearIndex] = Future()
        self._waiting.append((work, coming))
        return coming

    def go(self) -> None:
        """Do what waits."""
        for work, coming in self._waiting:
            coming.set_result(work())
        self._waiting.clear()


class _Near(NamedTuple):
    """What a source looked for, (Q, d), and the (Q, TOP) items nearest to it."""

    rows: I32
    wanted: F32


class _Found(NamedTuple):
    """What B questions were answered: items of each, best first, -1 where there are fewer.

    Attributes
    ----------
    near
        By source that compares vectors, for the questions that it heard.
    best, lists
        (B, TOP) of the blend, (B, n) the finished ones.
    """

    near: dict[str, _Near]
    best: I32
    lists: I32


def measure(
    workload: Workload, catalogues: Sequence[int], questions: int, known: Vectors, say: Say
) -> dict[str, Any]:
    """Train on a shop's warm-up, and ask in catalogues of several sizes.

    Parameters
    ----------
    workload
        The shop.
    catalogues
        How many items, ascending.
    questions
        How many are asked, each by another user.
    known
        Vectors of texts that were encoded before; new ones are added.
    say
        Told what is going on.

    Raises
    ------
    RilletError
        No Transformer came out of the warm-up.
    """
    with embedded() as (usual, store), tempfile.TemporaryDirectory() as folder:
        shape = usual.transformer.model_copy(update={"epochs": EPOCHS})
        settings = usual.model_copy(update={"transformer": shape})
        unshelve(store, known)
        say("index: a shop's log, with a Transformer from its middle on")
        before, tuned = _learned(settings, store, workload, Path(folder))
        shelve(store, known)
        rows = []
        for items in catalogues:
            say(f"index: {items:,} items")
            crowd(before.world.catalogue, settings, workload.items, items - len(workload.items))
            asked = _questions(store, settings, before.world, questions)
            rows.append(_compare(before, tuned, asked))
    return {"how": HOW, "questions": questions, "catalogues": rows}


def _learned(
    settings: Settings, store: Store, workload: Workload, folder: Path
) -> tuple[Engine, Tuned]:
    """Replay a warm-up; return the engine, and the Transformer trained in its middle."""
    log = write_log(folder / "warm.jsonl", [*workload.items, *workload.warm])
    middle = len(workload.items) + len(workload.warm) // 2
    replay = Replay(settings, store, load_encoder(settings.encoder), train_every=middle)
    replay.run(log)
    if not replay.tuned:
        raise RilletError("no Transformer was trained", "take more users, or a longer warm-up")
    return replay.personalize.engine, replay.tuned[0]


def _questions(store: Store, settings: Settings, world: World, many: int) -> list[Question]:
    """Return what users' states ask, of each at his last event."""
    meaning = meaning_of(settings)
    sessions = (decode_session(raw) for _, raw in sorted(store.scan("session")))
    busy = islice((one for one in sessions if one.events), many)
    return [ask(one, one.as_of.event_time, world.catalogue, meaning) for one in busy]


def _compare(before: Engine, tuned: Tuned, asked: Sequence[Question]) -> dict[str, Any]:
    """Ask an engine that has learned the same, without indexes and with them."""
    later = _Later()
    engine = Engine(before.settings, replace(before.world, beside=later))
    engine.restore(before.state())
    engine.weights = before.weights
    source = next(one for one in engine.sources if isinstance(one, Transformer))
    vectors, seen = source.place()
    window = before.settings.transformer.window
    loaded = Loaded.of(tuned.model.over(vectors), "index", seen, "fp32", window)
    source.swap(replace(loaded, index=None))
    exact = _ask(engine, asked)
    later.go()
    source.swap(loaded)
    found = _ask(engine, asked)
    if source.name in found.near:  # every item compared, it made a table
        wanted = found.near[source.name].wanted
        exact.near[source.name] = _Near(nearest(loaded.items, wanted, TOP), wanted)
    rows: dict[str, dict[str, Any]] = {
        name: {"questions": len(its.rows), "recall": _recall(its.rows, exact.near[name].rows)}
        for name, its in found.near.items()
    }
    for name, find in (("taste", engine.near.near), (source.name, loaded.near)):
        if name in rows:
            rows[name]["us"] = _cpu_us(find, found.near[name].wanted)
    return {"items": len(before.world.catalogue), "sources": rows} | _blend(exact, found)


def _blend(exact: _Found, found: _Found) -> dict[str, float]:
    """Return which share of the blend's best, and of the lists, is the same."""
    half = TOP // 2
    return {
        f"blend_{TOP}": _recall(found.best, exact.best),
        f"blend_{half}": _recall(found.best[:, :half], exact.best[:, :half]),
        "lists": _recall(found.lists, exact.lists),
    }


def _ask(engine: Engine, asked: Sequence[Question]) -> _Found:
    """Return what the sources are nearest to, and what the blend makes of all of them."""
    near: dict[str, list[_Near]] = {}
    best, lists = [], []
    for chunk in engine.look(asked):
        for source, scores in zip(engine.sources, chunk.retrieval.scores, strict=True):
            if isinstance(scores, Nearby):
                near.setdefault(source.name, []).append(_Near(scores.best[:, :TOP], scores.query))
        view = chunk.retrieval.see(chunk.retrieval.candidates())
        odds, _ = engine.score(chunk, view)
        place = best_of_each(view.pairs, odds, len(chunk), TOP)
        best.append(np.where(place >= 0, view.pairs.item[place], -1))
        lists.append(engine.finish(chunk, explained=0)[0].item)
    joined = {
        name: _Near(*(np.concatenate(parts) for parts in zip(*its, strict=True)))
        for name, its in near.items()
    }
    return _Found(joined, np.concatenate(best), np.concatenate(lists))


def _cpu_us(find: Callable[[F32], I32 | None], wanted: F32) -> float:
    """Return the processor time of a query."""
    began = time.process_time()
    find(wanted)
    return round((time.process_time() - began) / len(wanted) * 1e6, 1)


def _recall(found: I32, true: I32) -> float:
    """Return the mean share of each question's true ones that were found.

    Examples
    --------
    >>> _recall(np.array([[1, 2, -1], [5, 6, 7]]), np.array([[2, 3, -1], [7, 6, 5]]))
    0.75
    """
    pairs = zip(found.tolist(), true.tolist(), strict=True)
    both = [({*mine} - {-1}, {*its} - {-1}) for mine, its in pairs if max(its) >= 0]
    return round(float(np.mean([len(mine & its) / len(its) for mine, its in both])), 5)
