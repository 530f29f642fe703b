"""Events a second and processor time an event, beside the floor and a plain implementation."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

import redis

from benchmarks.contender import Run
from benchmarks.floor import Floor
from benchmarks.place import Place, Servers
from benchmarks.plain import Plain
from benchmarks.stage import Stage
from benchmarks.worker import Worker
from benchmarks.workload import categories_of
from models.lessons import EARLY
from stream.errors import RilletError
from stream.events import Event, Interaction
from stream.settings import Settings

__all__ = ["learned", "measure", "summary"]

Say = Callable[[str], None]

OURS: Final = ("rillet", "rillet_with_transformer")
NAMES: Final = (*OURS, "floor", "plain")


class _Rivals:
    """The floor and the plain implementation, each with topics and keys of its own."""

    def __init__(self, servers: Servers, stage: Stage, stack: ExitStack) -> None:
        warm = stage.workload.warm
        answer = stage.place.a_list()
        if not answer:
            raise RilletError("personalize wrote no list in the warm-up", "take a longer one")
        categories = categories_of(stage.workload.items)
        places = {name: stack.enter_context(Place(servers, name)) for name in ("floor", "plain")}
        of = {name: place.settings for name, place in places.items()}
        self._places = places
        self._workers = {
            "floor": stack.enter_context(Worker("floor", Floor, of["floor"], answer)),
            "plain": stack.enter_context(
                Worker("plain", Plain, of["plain"], categories, len(warm))
            ),
        }
        for name in self._workers:
            self.run(name, warm)

    def run(self, name: str, events: Sequence[Event]) -> Run:
        self._places[name].publish(events)
        found: Run = self._workers[name].call("run", len(events))
        return found


def measure(servers: Servers, stage: Stage, tuned: Stage, say: Say) -> dict[str, Any]:
    """Run all rounds: in each, all contenders work off the same events, one after the other.

    Parameters
    ----------
    servers
        Where the rivals' places are made.
    stage, tuned
        Rillet with its catalogue loaded: one that serves no Transformer, and one that does.
    say
        Told what is going on.
    """
    runs: dict[str, list[Run]] = {name: [] for name in (*NAMES, "neighbours")}
    served: list[float] = []
    stages = dict(zip(OURS, (stage, tuned), strict=True))
    for name, one in stages.items():
        say(f"throughput: warm-up, {name}")
        one.fill()
    if not tuned.personalize.call("serves"):
        raise RilletError("personalize has not swapped the model in", "take a longer warm-up")
    with ExitStack() as stack:
        say("throughput: warm-up, the rivals")
        rivals = _Rivals(servers, stage, stack)
        for number, events in enumerate(stage.workload.rounds):
            turn = number % len(NAMES)
            for name in (*NAMES[turn:], *NAMES[:turn]):
                say(f"throughput: round {number + 1}, {name}")
                if name not in stages:
                    runs[name].append(rivals.run(name, events))
                    continue
                before = _redis_cpu(servers)
                mine, beside = stages[name].run(events)
                runs[name].append(mine)
                if name == "rillet":
                    served.append((_redis_cpu(servers) - before) / len(events) * 1e6)
                    runs["neighbours"].append(beside)
    found = summary(runs)
    found["redis_cpu_us_per_event"] = round(statistics.median(served), 1)
    found["steps_wall_us_per_event"] = _steps(runs["rillet"])
    found["steps_with_transformer"] = _steps(runs["rillet_with_transformer"])
    found["rss_mib"] = {name: one.rss_mib() for name, one in stages.items()}
    found["learned"] = learned(stage.workload.warm)
    found["catalogue"] = {
        "items": stage.loaded.run.events,
        "encoded": stage.loaded.encoded,
        "cpu_us_per_item": round(stage.loaded.run.cpu_us, 1),
    }
    return found


def learned(warm: Sequence[Event]) -> float:
    """Return about which share of the positives is learned from after a warm-up.

    1.0 says that the learners are in their early phase still, in which an event costs most.
    """
    taken = sum(isinstance(event, Interaction) for event in warm)
    return round(min(1.0, max(Settings().blend.sample, EARLY / max(1, taken))), 3)


def summary(runs: Mapping[str, Sequence[Run]]) -> dict[str, Any]:
    """Return the medians over the rounds, and Rillet's ratios to its rivals.

    A ratio is the median of the rounds' ratios: what disturbs the machine for
    longer than a round disturbs both sides of it.
    """
    found: dict[str, Any] = {name: _figures(runs[name]) for name in NAMES if name in runs}
    beside = [
        theirs.cpu_s / max(1, mine.events) * 1e6
        for mine, theirs in zip(runs["rillet"], runs["neighbours"], strict=True)
    ]
    found["neighbours"] = {"cpu_us_per_event": _median(beside, 1)}
    for rival in ("floor", "plain"):
        pairs = list(zip(runs["rillet"], runs[rival], beside, strict=True))
        found[f"to_{rival}"] = {
            "cpu": _median([mine.cpu_us / its.cpu_us for mine, its, _ in pairs], 3),
            "cpu_with_neighbours": _median(
                [(mine.cpu_us + more) / its.cpu_us for mine, its, more in pairs], 3
            ),
            "rate": _median([mine.rate / its.rate for mine, its, _ in pairs], 4),
        }
    if tuned := runs.get("rillet_with_transformer"):
        pairs_of = zip(tuned, runs["rillet"], strict=True)
        found["transformer"] = {
            "cpu": _median([one.cpu_us / its.cpu_us for one, its in pairs_of], 3)
        }
    return found


def _figures(runs: Sequence[Run]) -> dict[str, Any]:
    rates = [run.rate for run in runs]
    return {
        "events": sum(run.events for run in runs),
        "events_per_s": _median(rates, 1),
        "events_per_s_rounds": [round(rate, 1) for rate in rates],
        "cpu_us_per_event": _median([run.cpu_us for run in runs], 1),
        "cpu_us_per_event_rounds": [round(run.cpu_us, 1) for run in runs],
        "wall_us_per_event": _median([1e6 / rate for rate in rates], 1),
        "lists_per_event": _median([run.lists / max(1, run.events) for run in runs], 4),
    }


def _median(values: Sequence[float], digits: int) -> float:
    return round(statistics.median(values), digits)


def _steps(runs: Sequence[Run]) -> dict[str, float]:
    """Return the wall microseconds that each step took per event, the longest first."""
    events = max(1, sum(run.events for run in runs))
    names = dict.fromkeys(name for run in runs for name in run.steps)
    took = {name: sum(run.steps.get(name, 0.0) for run in runs) / events for name in names}
    return {name: round(us, 1) for name, us in sorted(took.items(), key=lambda one: -one[1])}


def _redis_cpu(servers: Servers) -> float:
    """Return the seconds of processor time that the Redis server has used."""
    client: Any = redis.Redis.from_url(servers.redis)
    with client:
        info = client.info("cpu")
    return float(info["used_cpu_user"] + info["used_cpu_sys"])
