"""``python -m tests.faults``: play schedules, compare what they end in, tell the differences."""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from stream.faults import POINTS
from stream.settings import Settings
from tests.faults.oracle import Difference, Expected, differences, expect
from tests.faults.scene import Scene, StuckError
from tests.faults.schedule import draw
from tests.faults.servers import free_ports
from tests.faults.stage import Run, Stage, make_small_encoder, settings_for

SHOWN: Final = 5


@dataclass
class Outcome:
    """What one schedule came to."""

    seed: int
    seconds: float = 0.0
    ways: Counter[str] = field(default_factory=Counter)
    first: list[str] = field(default_factory=list)
    history: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
    reached: Counter[str] = field(default_factory=Counter)
    broken: str = ""


class Logs:
    """The logs, each replayed once."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._lock = folder, threading.Lock()
        self._known: dict[int, Expected] = {}

    def __getitem__(self, number: int) -> Expected:
        with self._lock:
            if number not in self._known:
                given = settings_for(self._folder, "replay", "none", "embedded:", "range")
                self._known[number] = expect(number, Settings.model_validate(given))
            return self._known[number]


def play(stage: Stage, logs: Logs, seed: int) -> Outcome:
    """Play the schedule of a seed; a difference leaves the run's folder behind."""
    began, outcome = time.monotonic(), Outcome(seed)
    schedule, chance = draw(seed), random.Random(f"victims {seed}")
    expected = logs[schedule.log]
    run = Run(stage, schedule, f"faults{seed}")
    scene = Scene(run, schedule, expected.lines, chance.choice)
    found: list[Difference] = []
    try:
        scene.play()
        left = run.store, run.folder / "archive", run.letters(), run.places()
        found += differences(expected, *left)
    except StuckError as error:
        found.append(Difference("lost", "the end of the run", "all is worked off", str(error)))
    finally:
        try:
            scene.kill()
        except BaseException:
            run.close(keep=True)
            raise
        found += [Difference("differing", "a process", "no crash", c) for c in scene.crashed]
        run.close(keep=bool(found))
    outcome.kinds = [f"{one.kind} {one.name}" for one in schedule.actions]
    outcome.reached = scene.reached
    if found:
        outcome.ways.update(one.way for one in found)
        outcome.first = [
            f"{one.way}: {one.what}\n    expected {one.expected}\n    found    {one.found}"
            for one in found[:SHOWN]
        ]
        outcome.history = scene.history
    outcome.seconds = time.monotonic() - began
    return outcome


def work(stage: Stage, logs: Logs, seeds: Iterator[int], until: float) -> list[Outcome]:
    """Play one schedule after the other on a stage, and tell each."""
    outcomes = []
    for seed in seeds:
        if time.monotonic() > until:
            break
        try:
            outcomes.append(play(stage, logs, seed))
        except Exception as error:  # of the harness: such a run says nothing of the engine
            outcomes.append(Outcome(seed, broken="".join(traceback.format_exception(error))))
        tell(outcomes[-1])
    return outcomes


def tell(outcome: Outcome) -> None:
    """Print how a schedule went: a line, or the first differences and what led to them."""
    if outcome.broken:
        print(f"seed {outcome.seed}: not judged\n{outcome.broken}", flush=True)
        return
    what = ", ".join(outcome.kinds)
    verdict = ", ".join(f"{n} {way}" for way, n in outcome.ways.items()) or "equal"
    lines = [f"seed {outcome.seed}: {verdict} ({outcome.seconds:.0f} s; {what})"]
    for first in outcome.first:
        lines.append(f"  {first}")
    if outcome.history:
        lines += ["  what happened:", *(f"    {line}" for line in outcome.history)]
        lines.append(f"  again: SCHEDULES=1 SEED={outcome.seed} make faults")
    print("\n".join(lines), flush=True)


class Shared:
    """An iterator that several threads may ask."""

    def __init__(self, seeds: Iterator[int]) -> None:
        self._seeds, self._lock = seeds, threading.Lock()

    def __iter__(self) -> Shared:
        return self

    def __next__(self) -> int:
        with self._lock:
            return next(self._seeds)

    def end(self) -> None:
        """Have no more of them."""
        with self._lock:
            self._seeds = iter(())


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument(
        "--schedules", type=int, default=200, help="how many from there (default: 200)"
    )
    parser.add_argument(
        "--seed", type=int, nargs="+", default=[0], help="the first one's, or several (default: 0)"
    )
    parser.add_argument("--jobs", type=int, default=2, help="how many at a time (default: 2)")
    parser.add_argument("--minutes", type=float, default=0, help="begin none after; 0 = no end")
    parser.add_argument("--kafka-port", type=int, help="first of four a job; default: free ones")
    parser.add_argument("--redis-port", type=int, help="first of two a job; default: free ones")
    parser.add_argument("--folder", type=Path, help="where runs with differences stay")
    parser.add_argument("--json", type=Path, help="write the outcomes there too")
    return parser.parse_args()


def ports_of(job: int, wanted: argparse.Namespace) -> list[int]:
    """Return the four ports around Kafka and the two around Redis of one job."""
    ports = free_ports(6)
    if wanted.kafka_port:
        ports[:4] = range(wanted.kafka_port + 4 * job, wanted.kafka_port + 4 * job + 4)
    if wanted.redis_port:
        ports[4:] = range(wanted.redis_port + 2 * job, wanted.redis_port + 2 * job + 2)
    return ports


def main() -> int:
    """Play the schedules; return 1 where any differs."""
    wanted = arguments()
    folder = wanted.folder or Path(tempfile.mkdtemp(prefix="rillet-faults-"))
    drawn = [first + n for first in wanted.seed for n in range(wanted.schedules)]
    seeds = Shared(iter(drawn))
    until = time.monotonic() + wanted.minutes * 60 if wanted.minutes else float("inf")
    jobs = min(wanted.jobs, len(drawn))
    stages: list[Stage] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    make_small_encoder(folder)
    try:
        for job in range(jobs):
            stages.append(Stage(folder / f"job{job}", ports_of(job, wanted)))
        logs = Logs(folder / "job0")
        with ThreadPoolExecutor(jobs) as pool:
            working = [pool.submit(work, stage, logs, seeds, until) for stage in stages]
            try:
                outcomes = [outcome for one in working for outcome in one.result()]
            except BaseException:
                seeds.end()
                raise
    finally:
        for stage in stages:
            stage.close()
    if wanted.json:
        wanted.json.write_bytes(msgspec.json.encode(outcomes))  # asdict would break the counters
    return summary(outcomes, folder)


def summary(outcomes: list[Outcome], folder: Path) -> int:
    """Print the last line; return the exit status."""
    broken = [str(outcome.seed) for outcome in outcomes if outcome.broken]
    if broken:
        print(f"not judged, for the harness itself failed: seeds {', '.join(broken)}")
    outcomes = [outcome for outcome in outcomes if not outcome.broken]
    bad = [outcome for outcome in outcomes if outcome.ways]
    if bad:
        print(f"what they left lies in {folder}; seeds {', '.join(str(one.seed) for one in bad)}")
    ways: Counter[str] = sum((one.ways for one in outcomes), Counter())
    reached: Counter[str] = sum((one.reached for one in outcomes), Counter())
    points = ", ".join(f"{point} {reached[point]}" for point in POINTS if reached[point])
    print(f"points reached: {points or 'none'}")
    counts = ", ".join(f"{way} {ways[way]}" for way in ("lost", "doubled", "differing"))
    print(f"schedules {len(outcomes)}, {counts}")
    return 1 if bad or broken else 0


if __name__ == "__main__":
    sys.exit(main())
