"""1, 2, 4 `personalize` processes over the same partitions: results, processor time, pauses."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import redis

from benchmarks.live import variables
from benchmarks.openloop import Plan
from benchmarks.place import Place, Servers, Vectors, shelve, unshelve
from benchmarks.procfs import cpu_s, rss_mib
from benchmarks.watch import Watcher
from benchmarks.worker import Worker
from consumers.wiring import group_of
from rillet import Client
from rillet.simulate import World
from stream.errors import BrokerError, RilletError
from stream.events import Delete, Event, Identify, Item, encode
from stream.log import LogWriter
from stream.metrics import Pulse
from stream.topics import group_lag

__all__ = ["Fleet", "Pace", "measure", "pauses"]

Say = Callable[[str], None]

WITHIN_S: Final = 600.0
IDLE_S: Final = 5.0
PERSONALIZE: Final = "personalize"
DISTURBANCES: Final = ("a process joins", "a process leaves (SIGTERM)", "a process is killed")
CALM: Final = "calm"


@dataclass(frozen=True, slots=True)
class Pace:
    """How much is measured, and how fast events come while processes come and go.

    Attributes
    ----------
    processes
        How many share the partitions, one number after the other.
    partitions
        Of the events topic.
    events
        Events that are worked off by each number of processes.
    per_s
        Events a second while processes come and go.
    between_s
        Seconds between two disturbances; a killed process must be missed in that time.
    verify
        Whether what was written is compared with a replay's.
    """

    processes: tuple[int, ...] = (1, 2, 4)
    partitions: int = 8
    events: int = 6000
    per_s: int = 50
    between_s: float = 25.0
    verify: bool = True

    def as_dict(self) -> dict[str, Any]:
        """Return the figures as plain values, for JSON."""
        return asdict(self)


@dataclass
class Fleet:
    """The consumers of one place, each a process of its own; all end with the block."""

    place: Place
    folder: Path
    more: dict[str, str] = field(default_factory=dict)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    neighbours: subprocess.Popen[bytes] = field(init=False)

    def start(self, name: str) -> subprocess.Popen[bytes]:
        """Start a consumer."""
        command = [sys.executable, "-m", "rillet.cli.main", "consume", name]
        log = self.folder / f"{name}-{len(self.running)}.log"
        with log.open("wb") as said:
            one = subprocess.Popen(
                command,
                cwd=self.folder,
                env=variables(self.place.settings) | self.more,
                stdout=said,
                stderr=said,
                stdin=subprocess.DEVNULL,
            )
        self.running.append(one)
        return one

    def stop(self, one: subprocess.Popen[bytes]) -> None:
        """End a consumer as Kubernetes does: SIGTERM first."""
        one.terminate()
        try:
            one.wait(60)
        except subprocess.TimeoutExpired:
            one.kill()
            one.wait()

    def stop_all(self) -> None:
        """End all that still run."""
        for one in self.running:
            if one.poll() is None:
                self.stop(one)

    def pulses(self) -> list[Pulse]:
        """Return what the running `personalize` processes say of themselves."""
        alive = {one.pid for one in self.running if one.poll() is None}
        raws = (raw for _, raw in self.place.store.scan("process"))
        found = [msgspec.json.decode(raw, type=Pulse) for raw in raws]
        return [one for one in found if one.name == PERSONALIZE and one.pid in alive]

    def settled(self, processes: int, partitions: int) -> bool:
        """Tell whether so many processes hold all partitions between them, each of them some."""
        held = [len(pulse.partitions) for pulse in self.pulses()]
        return len(held) == processes and all(held) and sum(held) == partitions

    def worked_off(self, name: str) -> bool:
        """Tell whether a consumer's group has nothing left to read."""
        kafka = self.place.settings.kafka
        topics = {
            "catalogue": kafka.catalogue,
            PERSONALIZE: kafka.events,
            "neighbours": kafka.transitions,
        }
        group = group_of(name, self.place.settings)
        try:
            return not any(one.lag for one in group_lag(kafka, group, [topics[name]]))
        except BrokerError:  # a Kafka that has just started has no coordinator yet
            return False

    def wait(self, what: Callable[[], bool]) -> None:
        """Wait until something is so.

        Raises
        ------
        RilletError
            A consumer has failed, or it took too long.
        """
        deadline = time.monotonic() + WITHIN_S
        while not what():
            failed = [one for one in self.running if one.poll() not in (None, 0, -9)]
            if failed or time.monotonic() > deadline:
                logs = sorted(self.folder.glob("*.log"))
                said = "".join(log.read_text("utf-8", "replace")[-600:] for log in logs)
                raise RilletError(f"the consumers have ended or are not ready: {said}")
            time.sleep(0.2)


@contextmanager
def fleet(servers: Servers, items: Sequence[Event], known: Vectors, pace: Pace) -> Iterator[Fleet]:
    """Lend a place with its catalogue loaded and `neighbours` running."""
    place = Place(servers, "fleet")
    kafka = place.settings.kafka.model_copy(update={"partitions": pace.partitions})
    place.settings = place.settings.model_copy(update={"kafka": kafka})
    with place, tempfile.TemporaryDirectory(prefix="rillet-bench-") as folder:
        unshelve(place.store, known)
        one = Fleet(place, Path(folder))
        try:
            place.publish(items)
            catalogue = one.start("catalogue")
            one.wait(lambda: one.worked_off("catalogue"))
            one.stop(catalogue)
            shelve(place.store, known)
            one.neighbours = one.start("neighbours")
            yield one
        finally:
            one.stop_all()


def measure(
    servers: Servers, items: Sequence[Item], world: World, pace: Pace, say: Say
) -> Iterator[dict[str, Any]]:
    """Work off the same log with ever more processes; then let processes come and go.

    Yields what is known so far, after each part: ``pace``, ``rows``, ``pauses``.

    Parameters
    ----------
    servers
        Where Kafka and Redis are.
    items
        The catalogue.
    world
        Whose log it is, but for its items.
    pace
        How much and how fast.
    say
        Told what is going on.
    """
    others = (Item, Identify, Delete)  # what is handed over comes back when it may
    deeds = [event for event in world.events() if not isinstance(event, others)]
    items = sorted(items, key=lambda one: one.item)
    known: Vectors = {}
    rows: list[dict[str, Any]] = []
    found: dict[str, Any] = {"pace": pace.as_dict(), "rows": rows}
    for count in pace.processes:
        say(f"fleet: {pace.events:,} events, {count} processes")
        with fleet(servers, items, known, pace) as one:
            rows.append(_worked(one, items, deeds[: pace.events], count, pace))
        yield found
    say("fleet: processes come and go")
    with fleet(servers, items, known, pace) as one:
        found["pauses"] = _disturbed(one, deeds, pace)
    yield found


def _worked(
    one: Fleet, items: Sequence[Event], deeds: Sequence[Event], count: int, pace: Pace
) -> dict[str, Any]:
    """Work off events with so many processes, and compare with a replay by one."""
    mine = [one.start(PERSONALIZE) for _ in range(count)]
    one.wait(lambda: one.settled(count, pace.partitions))
    time.sleep(1)
    first = [cpu_s(process.pid) for process in mine]
    time.sleep(IDLE_S)
    idle = sum(cpu_s(process.pid) for process in mine) - sum(first)
    meters: dict[str, Callable[[], float]] = {
        "cpu": lambda: sum(cpu_s(process.pid) for process in mine),
        "neighbours_cpu": lambda: cpu_s(one.neighbours.pid),
        "redis_cpu": lambda: _redis_cpu_s(one.place),
    }
    before, begun = {name: read() for name, read in meters.items()}, time.monotonic()
    one.place.publish(deeds)
    one.wait(lambda: one.worked_off(PERSONALIZE))
    wall = time.monotonic() - begun
    spent = {"cpu": meters["cpu"]() - before["cpu"]}
    memory = max(rss_mib(process.pid) for process in mine)
    one.wait(lambda: one.worked_off("neighbours"))
    spent |= {name: read() - before[name] for name, read in meters.items() if name not in spent}
    spent["cpu_without_idle"] = spent["cpu"] - idle / IDLE_S * wall
    return {
        "processes": count,
        "events": len(deeds),
        "wall_s": round(wall, 2),
        "events_per_s": round(len(deeds) / wall, 1),
        "idle_cpu_ms_per_s": round(idle / IDLE_S / count * 1e3, 2),
        "rss_mib": round(memory, 1),
        **{f"{name}_us_per_event": round(s / len(deeds) * 1e6, 1) for name, s in spent.items()},
        "verify": _verified(one, [*items, *deeds]) if pace.verify else [],
    }


def _redis_cpu_s(place: Place) -> float:
    """Return the processor time that the Redis server has had, in seconds."""
    client: Any = redis.Redis.from_url(place.settings.redis.url.get_secret_value())
    with client:
        spent = client.info("cpu")
    return float(spent["used_cpu_user"] + spent["used_cpu_sys"])


def _verified(one: Fleet, events: Sequence[Event]) -> list[dict[str, Any]]:
    """Return by kind what ``rillet verify`` finds."""
    log = one.folder / "log.jsonl"
    with LogWriter(log) as file:
        for event in events:
            file.write(encode(event))
    command = [sys.executable, "-m", "rillet.cli.main", "verify", str(log), "--json"]
    done = subprocess.run(
        command,
        cwd=one.folder,
        env=variables(one.place.settings),
        capture_output=True,
        check=False,
        text=True,
    )
    if not done.stdout:
        raise RilletError(f"`rillet verify` failed: {done.stderr[-600:]}")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return [{name: row[name] for name in ("kind", "equal", "wrong")} for row in found]


def _disturbed(one: Fleet, deeds: Sequence[Event], pace: Pace) -> dict[str, Any]:
    """Publish at a fixed rate while a process joins, one leaves and one is killed."""
    session_s = max(6.0, pace.between_s / 2)
    one.more = {"RILLET_KAFKA__SESSION_S": f"{session_s:g}"}
    leaver, killed = one.start(PERSONALIZE), one.start(PERSONALIZE)
    one.wait(lambda: one.settled(2, pace.partitions))
    acts = (
        lambda: one.start(PERSONALIZE),
        leaver.terminate,
        killed.kill,
    )
    count = int(pace.per_s * pace.between_s * (len(acts) + 1))
    with (
        Client(one.place.settings) as client,
        Worker("watcher", Watcher, one.place.settings.redis) as watcher,
    ):
        plan = Plan.of(list(islice(deeds, count)), pace.per_s)
        watcher.begin("watch", plan.schedule, plan.begin, pace.between_s + 30)
        moments = _publish(plan, client, acts, pace.between_s)
        seen = watcher.result()
    at = [due.at_s for due in plan.schedule]
    found = pauses(at, seen.delays_s, moments, pace.between_s)
    lost = sum(delay is None for delay in seen.delays_s)
    return {"session_s": session_s, "unseen": lost, "moments": found}


def _publish(
    plan: Plan, client: Client, acts: Sequence[Callable[[], object]], between_s: float
) -> list[float]:
    """Publish each event at its time, and act in between; return when each act began."""
    moments: list[float] = []
    for due, event in zip(plan.schedule, plan.events, strict=True):
        while (now := time.monotonic() - plan.begin) < due.at_s:
            time.sleep(due.at_s - now)
        client.publish(event)
        if len(moments) < len(acts) and due.at_s >= between_s * (len(moments) + 1):
            moments.append(time.monotonic() - plan.begin)
            acts[len(moments) - 1]()
    client.flush()
    return moments


def pauses(
    at_s: Sequence[float],
    delays_s: Sequence[float | None],
    moments: Sequence[float],
    window_s: float,
) -> dict[str, dict[str, float]]:
    """Return how long users waited for a list, in calm and after each disturbance.

    Parameters
    ----------
    at_s, delays_s
        Of each event when it was published, and how long its user's list took; None: never.
    moments
        When each disturbance began.
    window_s
        How long after it events are counted to it.

    Returns
    -------
    dict
        By disturbance: ``events``, ``p50_s``, ``longest_s`` and ``over_1s``, the share of the
        events whose list took more than a second.

    Examples
    --------
    >>> pauses([0.0, 1.0, 2.0], [0.1, 4.0, 3.0], [1.0], 10.0)["a process joins"]["longest_s"]
    4.0
    """
    names = [CALM, *DISTURBANCES[: len(moments)]]
    rows: dict[str, list[float]] = {name: [] for name in names}
    for at, delay in zip(at_s, delays_s, strict=True):
        begun = [name for name, m in zip(DISTURBANCES, moments, strict=False) if m <= at + 1.0]
        # An event of a second before may be what a disturbance finds under way.
        inside = begun and at - moments[len(begun) - 1] <= window_s
        if delay is not None:
            rows[begun[-1] if inside else CALM].append(delay)
    return {
        name: {
            "events": len(row),
            "p50_s": round(statistics.median(row), 3),
            "longest_s": round(max(row), 3),
            "over_1s": round(sum(delay > 1 for delay in row) / len(row), 4),
        }
        for name, row in rows.items()
        if row
    }
