"""How often the next item is in the list: the engine beside what could be known, and chance."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from benchmarks.place import Vectors, embedded, shelve, unshelve
from consumers.replay import Replay, source_names, time_at
from features.text import load_encoder
from models.evaluation import Evaluation
from rillet.cli.figures import best_source
from rillet.simulate import World, oracle_hit_rates
from stream.errors import LogError
from stream.events import encode
from stream.log import LogWriter, read_log

__all__ = ["measure", "measure_log", "rows"]

Say = Callable[[str], None]

BLEND: Final = "blend"
ORACLE_SAMPLE: Final = 0.2
"""Share of the positives for which the oracle is asked: it looks at every item for each."""


def measure(world: World, skip: float, known: Vectors, say: Say) -> dict[str, Any]:
    """Replay a shop's log, and measure what an oracle, popularity and chance would have got.

    Parameters
    ----------
    world
        The shop.
    skip
        Share of its time in which everybody learns and nobody is measured.
    known
        Vectors of texts that were encoded before.
    say
        Told what is going on.
    """
    say("quality: what the oracle knows")
    truth = oracle_hit_rates(world, k=10, sample=ORACLE_SAMPLE, skip=skip)
    from_ms = int(world.plan.start_ms + skip * world.span_ms)
    with tempfile.TemporaryDirectory(prefix="rillet-bench-") as folder:
        path = Path(folder, "world.jsonl")
        with LogWriter(path) as log:
            for event in world.events():
                log.write(encode(event))
        report = _replay(path, from_ms, known, say)
    plan = world.plan
    shop = f"a shop of {plan.users:,} users, {plan.items:,} items, {plan.days:g} days"
    found = _summary(report, f"{shop}, seed {plan.seed}")
    for name in ("oracle", "popularity", "random"):
        rates = truth.rates[name]
        found["rivals"][name] = {"hr@10": rates.hr, "ndcg@10": rates.ndcg, "n": rates.count}
    return found


def measure_log(path: Path, evaluate_from: float, known: Vectors, say: Say) -> dict[str, Any]:
    """Replay any event log; of its users' events the first share is not measured."""
    from_ms = time_at(read_log(path), max(0.0, evaluate_from))
    return _summary(_replay(path, from_ms, known, say), path.name)


def _replay(path: Path, from_ms: int, known: Vectors, say: Say) -> dict[str, Any]:
    say(f"quality: replaying {path.name}")
    with embedded() as (settings, store):
        unshelve(store, known)
        evaluation = Evaluation(from_ms, source_names(settings))
        engine = Replay(settings, store, load_encoder(settings.encoder), evaluation=evaluation)
        report = engine.run(path).report()
        shelve(store, known)
    return report


def _summary(report: dict[str, Any], log: str) -> dict[str, Any]:
    """Return the figures of a replay that are compared, the blend and the best source named.

    Raises
    ------
    LogError
        Nobody took anything while it was measured.
    """
    modes = report["next"]
    mode = "strict" if BLEND in modes.get("strict", {}) else "order"
    sources = dict(modes.get(mode, {}))
    if BLEND not in sources:
        raise LogError(f"nothing was measured in {log}", "lower --evaluate-from")
    blend = sources.pop(BLEND)
    return {
        "log": log,
        "events": report["events"],
        "mode": mode,
        "blend": blend,
        "best_source": best_source(modes.get(mode, {}), "hr@10"),
        "sources": sources,
        "rivals": {},
        "rerank": report["rerank"],
        "cpu_us_per_event": report["cpu_us_per_event"],
    }


def rows(found: dict[str, Any]) -> list[tuple[str, dict[str, float]]]:
    """Return name and figures of all that were measured, the best first.

    Examples
    --------
    >>> found = {"blend": {"hr@10": 0.3}, "sources": {"own": {"hr@10": 0.1}},
    ...     "rivals": {"oracle": {"hr@10": 0.5}}}
    >>> [name for name, _ in rows(found)]
    ['oracle', 'blend', 'own']
    """
    every = {BLEND: found["blend"], **found["sources"], **found["rivals"]}
    return sorted(every.items(), key=lambda pair: -pair[1].get("hr@10", 0.0))
