"""How well a search finds what its visitor wants: words, vectors, both, and both for him."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from benchmarks.place import Vectors, embedded, shelve, unshelve
from consumers.replay import Replay
from features.text import load_encoder
from rillet.serving.asking import Asker
from rillet.serving.ranker import Ranker
from rillet.serving.search import Search as Asked
from rillet.simulate import World, oracle_scores
from rillet.simulate.truth import Moment
from stream.errors import LogError
from stream.events import Event, Ranking, Search, encode
from stream.log import LogWriter
from stream.settings import Settings

__all__ = ["RANKERS", "measure", "ndcg_of", "shop", "spread", "stops"]

Say = Callable[[str], None]
F64 = NDArray[np.float64]
E = TypeVar("E", Search, Ranking)

TOP: Final = 10

RANKERS: Final = ("words", "vectors", "fused", "stranger", "personal")
"""BM25, the encoder's cosines, both ranks fused; the same scored for somebody of whom nothing is
known, and for who asks."""


def measure(world: World, skip: float, most: int, known: Vectors, say: Say) -> dict[str, Any]:
    """Replay a shop's log, and before each search ask for what the visitor is about to.

    Every search is answered by a live :class:`rillet.serving.ranker.Ranker` over what the engine
    has learned from the events before it, of the whole catalogue. Items are worth the planted
    chance that the visitor takes them, so 1 is what somebody could do who knows his taste.

    Parameters
    ----------
    world
        The shop.
    skip
        Share of its time in which everybody learns and nothing is measured.
    most
        Searches that are measured, evenly over the rest of its time.
    known
        Vectors of texts that were encoded before.
    say
        Told what is going on.

    Raises
    ------
    LogError
        Nobody searched.
    """
    say("search: what the planted truth is")
    measured = _drawn(world, skip, most)
    found: dict[str, list[float]] = {name: [] for name in RANKERS}
    lengths, cpu = list[int](), list[float]()
    with shop(known) as (settings, replay, ranker):
        for number, (event, moment) in enumerate(_played(world, measured, replay, ranker)):
            before = time.thread_time()
            answer = ranker.search(event.query, user=event.user, session=event.session, n=TOP)
            cpu.append(1000 * (time.thread_time() - before))
            gains = oracle_scores(world, moment)
            lists = _lists(ranker, settings, event) | {"personal": [one.item for one in answer]}
            for name, items in lists.items():
                found[name].append(ndcg_of(gains, [world.numbers[item] for item in items]))
            lengths.append(len(moment.visited))
            if number % 100 == 0:
                say(f"search: {number:,} of {len(measured):,}")
    if not lengths:
        raise LogError("nobody searched in this shop", "take more users or days")
    plan = world.plan
    return {
        "shop": f"{plan.users:,} users, {plan.items:,} items, {plan.days:g} days, seed {plan.seed}",
        "searches": len(lengths),
        "ndcg@10": {name: spread(values) for name, values in found.items()},
        "cpu_ms": {"p50": float(np.median(cpu)), "p99": float(np.quantile(cpu, 0.99))},
    }


def ndcg_of(gains: F64, ranked: Sequence[int], k: int = TOP) -> float:
    """Return NDCG@k of a ranking of items that are worth something each.

    Source: Jarvelin and Kekalainen 2002, doi:10.1145/582415.582418, with linear gains.

    Examples
    --------
    >>> gains = np.array([0.0, 0.6, 0.3, 0.1])
    >>> ndcg_of(gains, [1, 2, 3]), round(ndcg_of(gains, [2, 1]), 3), ndcg_of(gains, [])
    (1.0, 0.809, 0.0)
    """
    discount = 1 / np.log2(np.arange(2, k + 2))
    got = gains[list(ranked[:k])]
    ideal = np.sort(gains)[::-1][:k]
    return float((got * discount[: len(got)]).sum() / (ideal * discount[: len(ideal)]).sum())


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return the mean, and the half-width of its 95 % interval."""
    one = np.array(values)
    return {"mean": float(one.mean()), "pm": float(1.96 * one.std() / len(one) ** 0.5)}


def _drawn(world: World, skip: float, most: int) -> set[str]:
    """Return the ids of the searches that are measured."""
    from_ms = world.plan.start_ms + skip * world.span_ms
    ids = []
    for step in world.steps():
        event = step.event
        if isinstance(event, Search) and event.timestamp >= from_ms and step.moment is not None:
            if oracle_scores(world, step.moment).any():
                ids.append(str(event.id))
    if len(ids) <= most:
        return set(ids)
    return {ids[at] for at in np.linspace(0, len(ids) - 1, most).astype(int).tolist()}


@contextmanager
def shop(known: Vectors) -> Iterator[tuple[Settings, Replay, Ranker]]:
    """Lend an engine without events, and what reads it."""
    with embedded() as (settings, store):
        unshelve(store, known)
        encoder = load_encoder(settings.encoder)
        ranker = Ranker(settings, store, encoder=encoder)
        try:
            yield settings, Replay(settings, store, encoder), ranker
        finally:
            ranker.close()
            shelve(store, known)


def _played(
    world: World, measured: set[str], replay: Replay, ranker: Ranker
) -> Iterator[tuple[Search, Moment]]:
    """Let a shop's log pass; stop before each search that is measured."""
    moments = dict[str, Moment]()

    def events() -> Iterator[Event]:
        for step in world.steps():
            if isinstance(step.event, Search) and step.moment is not None:
                moments[str(step.event.id)] = step.moment
            yield step.event

    for event in stops(events(), Search, measured, replay, ranker):
        yield event, moments.pop(str(event.id))


def stops(
    events: Iterable[Event], kind: type[E], measured: set[str], replay: Replay, ranker: Ranker
) -> Iterator[E]:
    """Let events pass; yield what is measured before it does, when all that came earlier is known.

    Parameters
    ----------
    events
        A log, in its order.
    kind, measured
        Which events are yielded, and their ids.
    replay, ranker
        Who learns from the events, and who follows.
    """
    waiting: list[Event] = []
    with tempfile.TemporaryDirectory(prefix="rillet-bench-") as folder:
        path = Path(folder, "part.jsonl")
        for event in events:
            if isinstance(event, kind) and event.id in measured:
                with LogWriter(path) as log:
                    for one in waiting:
                        log.write(encode(one))
                waiting = []
                replay.run(path)
                _catch_up(ranker)
                yield event
            waiting.append(event)


def _catch_up(ranker: Ranker) -> None:
    """Take over all that the engine has learned: a replay's minute is shorter than a clock's."""
    if ranker.ready:
        ranker.refresh()
    else:
        ranker.load()
        ranker.mirror.heard.models_every_s = 0.0


def _lists(ranker: Ranker, settings: Settings, event: Search) -> dict[str, list[str]]:
    """Return what each of the simpler rankers would answer."""
    mirror = ranker.mirror
    asker = Asker(settings, mirror)
    with mirror.lock:
        question = asker.question(asker.session(None, None), event.query)
        asked = Asked.of(mirror, question, event.query)
        relevance = asked.relevance
        assert relevance is not None, "there is a query"
        candidates = relevance.candidates()
        rows = {
            "words": relevance.by_words,
            "vectors": relevance.by_vectors,
            "fused": candidates,
            "stranger": asked.score(candidates).rows,
        }
        ids = mirror.catalogue.ids
        return {name: [ids[row] for row in some[:TOP].tolist()] for name, some in rows.items()}
