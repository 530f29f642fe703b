"""Whether anything grows: all consumers for a long time under a steady load, weighed.

Events are published at a fixed rate to a real Kafka; every process of Rillet is
weighed now and then. What grows without end shows as a slope that does not go
away; what fills up (caches of users, states that reach their bounds, the
allocator's reserves) flattens. So the slope is taken over the later part alone.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.live import Up, running, until
from benchmarks.place import Place, Servers
from benchmarks.swap.watch import resident
from benchmarks.workload import Sizes
from consumers.wiring import CONSUMERS, group_of
from rillet import Client
from stream.errors import SettingsError
from stream.events import Delete, Event, Identify, Item, Millis
from stream.metrics import Pulse
from stream.settings import SessionSettings
from stream.topics import group_lag

__all__ = ["Series", "Slope", "Soak", "app", "main", "slope_of"]

Say = Callable[[str], None]

NAMES: Final = (*CONSUMERS, "archive")
SETTLED: Final = 1 / 3
"""Share of the run after which the slope is taken."""

MIB: Final = 2**20
INTERRUPTED: Final = 130

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@dataclass(frozen=True, slots=True)
class Soak:
    """The shop, events a second, for how long, and seconds between two weighings.

    ``cached`` is `session.cached` of the consumers: how many users' states one of them keeps.
    """

    sizes: Sizes
    rate: int
    minutes: float
    every_s: float
    cached: int

    @property
    def count(self) -> int:
        """How many events are published."""
        return round(self.rate * self.minutes * 60)


class Slope(NamedTuple):
    """Growth in MiB an hour, and its standard error."""

    per_hour: float
    error: float


@dataclass
class Series:
    """What was weighed.

    Attributes
    ----------
    at_s
        Seconds since the load began.
    mib
        Process to its resident memory at each moment, MiB; ``redis`` is Redis' own account.
    lag
        Records that `personalize` had still to read.
    restarted
        Processes that were not the same to the end.
    """

    at_s: list[float] = field(default_factory=list)
    mib: dict[str, list[float]] = field(default_factory=dict)
    lag: list[int] = field(default_factory=list)
    restarted: set[str] = field(default_factory=set)


def slope_of(at_s: list[float], mib: list[float]) -> Slope:
    """Return the least-squares slope over the later two thirds.

    The error is that of independent residuals; where memory moves in steps the
    true one is larger.

    Examples
    --------
    >>> slope_of([0.0, 15.0, 30.0, 45.0, 60.0, 75.0], [90.0, 99.0, 100.0, 101.0, 102.0, 103.0])
    Slope(per_hour=240.0, error=0.0)
    """
    first = round(len(at_s) * SETTLED)
    hours, sizes = np.array(at_s[first:]) / 3600, np.array(mib[first:])
    if len(hours) < 3:
        return Slope(float("nan"), float("nan"))
    hours = hours - hours.mean()
    spread = float(hours @ hours)
    slope = float(hours @ sizes) / spread
    left = sizes - sizes.mean() - slope * hours
    error = float(np.sqrt(left @ left / (len(hours) - 2) / spread))
    return Slope(round(slope, 3), round(error, 3))


class Scales:
    """A thread that weighs all processes now and then, and writes each row as it comes."""

    def __init__(self, place: Place, up: Up, every_s: float, say: Say) -> None:
        self.series = Series()
        self._place, self._up, self._every_s, self._say = place, up, every_s, say
        self._pids: dict[str, int] = {"up": up.process.pid}
        self._begin = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="scales", daemon=True)

    def weigh(self) -> None:
        """Weigh everything once."""
        store, series = self._place.store, self.series
        pulses = [msgspec.json.decode(raw, type=Pulse) for _, raw in store.scan("process")]
        for pulse in pulses:
            if self._pids.setdefault(pulse.name, pulse.pid) != pulse.pid:
                series.restarted.add(pulse.name)
                self._pids[pulse.name] = pulse.pid
        sizes = {name: resident(pid) for name, pid in self._pids.items()}
        sizes["redis"] = store.health().used_bytes / MIB
        series.at_s.append(round(time.monotonic() - self._begin, 1))
        for name, size in sizes.items():
            series.mib.setdefault(name, []).append(round(size, 2))
        series.lag.append(sum(pulse.lag for pulse in pulses if pulse.name == "personalize"))
        row = "  ".join(f"{name} {size:.1f}" for name, size in sizes.items())
        self._say(f"{row}  lag {series.lag[-1]}")

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self.weigh()

    def __enter__(self) -> Self:
        self.weigh()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.weigh()


def _deeds(sizes: Sizes) -> Iterator[Event]:
    """Yield what users do, for ever: when the shop's log ends, that of another seed follows."""
    while True:
        for event in sizes.world().events():
            if not isinstance(event, Item | Identify | Delete):
                yield event
        sizes = replace(sizes, seed=sizes.seed + 1)


def _publish(client: Client, deeds: Iterator[Event], rate: int, count: int) -> float:
    """Publish so many events at a rate; return how many seconds late the latest was."""
    begin, latest = time.monotonic(), 0.0
    for number in range(count):
        left = begin + number / rate - time.monotonic()
        if left > 0:
            time.sleep(left)
        latest = max(latest, -left)
        now = Millis(time.time_ns() // 1_000_000)
        client.publish(msgspec.structs.replace(next(deeds), timestamp=now))
    client.flush()
    return latest


def _behind(place: Place, name: str, topic: str) -> int:
    found = group_lag(place.settings.kafka, group_of(name, place.settings), [topic])
    return sum(one.lag for one in found)


def _ready(place: Place, items: int) -> bool:
    names = {name.split(":", 1)[0] for name, _ in place.store.scan("process")}
    if not names.issuperset(NAMES) or sum(1 for _ in place.store.scan("item")) < items:
        return False
    return not _behind(place, "catalogue", place.settings.kafka.catalogue)


def _given(plan: Soak, archive: Path) -> dict[str, str]:
    return {
        "RILLET_ARCHIVE__ENABLED": "true",
        "RILLET_ARCHIVE__URL": str(archive),
        "RILLET_SESSION__CACHED": str(plan.cached),
    }


def measure(servers: Servers, plan: Soak, say: Say) -> tuple[dict[str, Any], Series]:
    """Run the soak; return its figures and its series."""
    items = [event for event in plan.sizes.world().events() if isinstance(event, Item)]
    with Place(servers, "soak") as place, tempfile.TemporaryDirectory(prefix="soak-") as name:
        with running(place, **_given(plan, Path(name, "archive"))) as up:
            say("starting the consumers, encoding the catalogue")
            place.publish(items)
            until(lambda: _ready(place, len(items)), up.ended)
            say(f"publishing {plan.rate} events a second for {plan.minutes:g} minutes")
            with Scales(place, up, plan.every_s, say) as scales, Client(place.settings) as client:
                late = _publish(client, _deeds(plan.sizes), plan.rate, plan.count)
            left = _behind(place, "personalize", place.settings.kafka.events)
    told = {"events": plan.count, "left": left, "latest_s": round(late, 3)}
    return told | figures(scales.series), scales.series


def figures(series: Series) -> dict[str, Any]:
    """Return what the series says, process by process."""
    found = {}
    for name, mib in series.mib.items():
        slope = slope_of(series.at_s[-len(mib) :], mib)
        found[name] = {"first": mib[0], "last": mib[-1], "most": max(mib)} | slope._asdict()
    return {
        "processes": found,
        "restarted": sorted(series.restarted),
        "most_lag": max(series.lag),
        "series": asdict(series) | {"restarted": sorted(series.restarted)},
    }


def show(found: dict[str, Any], console: Console) -> None:
    """Print the slopes."""
    table = Table(box=None, pad_edge=False)
    for column in ("MiB", "first", "last", "most", "MiB an hour", "error"):
        table.add_column(column, justify="left" if column == "MiB" else "right")
    for name, one in found["processes"].items():
        sizes = (f"{one[key]:,.1f}" for key in ("first", "last", "most"))
        table.add_row(name, *sizes, f"{one['per_hour']:+,.1f}", f"{one['error']:,.1f}")
    console.print(table)
    again = ", ".join(found["restarted"]) or "none"
    console.print(
        f"{found['events']:,} events, the latest {found['latest_s']:.2f} s late; "
        f"at most {found['most_lag']:,} waiting, {found['left']:,} in the end; restarted: {again}"
    )


def draw(series: Series, target: Path) -> None:
    """Write a PNG file, or what else the ending says."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
    for name, mib in series.mib.items():
        axes.plot(np.array(series.at_s[-len(mib) :]) / 60, mib, label=name, linewidth=1)
    axes.set_ylabel("memory, MiB")
    axes.set_xlabel("minutes")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False, ncols=3)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=90)
    plt.close(figure)


@app.command()
def run(  # noqa: PLR0913 - the options are the interface
    *,
    minutes: Annotated[float, typer.Option(min=0.1, help="How long.")] = 30.0,
    rate: Annotated[int, typer.Option(min=1, help="Events a second.")] = 500,
    users: Annotated[int, typer.Option(min=1, help="Visitors of the shop.")] = 5000,
    items: Annotated[int, typer.Option(min=1, help="Items of the shop.")] = 3000,
    every: Annotated[float, typer.Option(min=0.1, help="Seconds between two weighings.")] = 15.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another shop.")] = 7,
    cached: Annotated[
        int, typer.Option(min=0, help="Users whose states a consumer keeps in memory.")
    ] = SessionSettings().cached,
    out: Annotated[
        Path | None, typer.Option("--json", help="Write figures and series here.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the series, PNG.")] = None,
    kafka: Annotated[str, typer.Option(envvar="RILLET_TEST_KAFKA", help="host:port")] = "",
    redis: Annotated[str, typer.Option(envvar="RILLET_TEST_REDIS", help="redis:// URL")] = "",
) -> None:
    """Run all consumers under a steady load, and weigh every process of them.

    A row is printed at each weighing; last come the slopes in MiB an hour, over
    the later two thirds, with their standard error. Caches and states fill up at
    first: a short run says little of a leak.

    [bold]Examples[/bold]

      scripts/services.py run -- python -m benchmarks.soak --plot soak.png

      scripts/services.py run -- python -m benchmarks.soak --minutes 4 --rate 100
    """
    if not (kafka and redis):
        mend = "`scripts/services.py run -- python -m benchmarks.soak` starts them"
        raise SettingsError("a real Kafka and a real Redis must be named", mend)
    notes, began, environment = Console(highlight=False), time.monotonic(), describe()

    def say(text: str) -> None:
        notes.print(f"[dim]{time.monotonic() - began:6.0f} s[/]  {text}", soft_wrap=True)

    days = max(2.0, 2.0 + rate * minutes * 60 / users / 5)
    plan = Soak(Sizes(users, items, min(days, 30.0), seed), rate, minutes, every, cached)
    try:
        found, series = measure(Servers(kafka, redis), plan, say)
    except KeyboardInterrupt as interrupt:
        raise typer.Exit(INTERRUPTED) from interrupt
    found = {"plan": asdict(plan), "environment": environment} | found
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    show(found, Console(highlight=False))
    if plot is not None:
        draw(series, plot)


def main() -> None:
    """Run the command line."""
    enter(app, "python -m benchmarks.soak")


if __name__ == "__main__":
    main()
