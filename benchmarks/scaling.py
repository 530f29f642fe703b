"""How the engine scales: with the catalogue, and with the number of processes.

    scripts/services.py run -- python -m benchmarks.scaling --json build/scaling.json

replays one shop with ever more items in one process, without Kafka, and has 1, 2 and 4
`personalize` processes work off another over a real Kafka and Redis: whether they end in what a
replay by a single process ends in (`rillet verify`), what processor time an event costs them, and
how long users wait for a list while a process joins, leaves and is killed.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.table import Table

from benchmarks import fleet
from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.filler import CROWD, bare
from benchmarks.fleet import Pace
from benchmarks.place import Servers, Vectors
from benchmarks.procfs import rss_mib
from benchmarks.shop import Logs, Shop
from benchmarks.worker import Worker
from benchmarks.workload import Sizes, cut
from consumers.replay import Replayed
from stream.errors import SettingsError
from stream.events import Item

__all__ = ["app", "main", "measure"]

Say = Callable[[str], None]

HOW: Final = (
    "personalize and neighbours take turns in one process, with an embedded Redis and without "
    "Kafka; "
) + CROWD


def measure(sizes: Sizes, catalogues: Sequence[int], known: Vectors, say: Say) -> dict[str, Any]:
    """Replay the same shop in ever larger catalogues; rounds of all sizes take turns.

    Each size has a process and a Redis of its own. What happens is the same in all of them:
    the shop has as many items as the smallest catalogue, the others have filler beside them.
    The first round after the filler is not measured: indexes are built in it.

    Parameters
    ----------
    sizes
        The shop, but for its items.
    catalogues
        How many items, ascending.
    known
        Vectors of texts that were encoded before; new ones are added.
    say
        Told what is going on.
    """
    shop = replace(sizes, items=catalogues[0], rounds=sizes.rounds + 1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rillet-bench-")))
        logs = Logs.of(cut(shop), folder)
        shops: list[Worker] = []
        for items in catalogues:
            say(f"scaling: warm-up with {items:,} items")
            worker = Worker(f"{items:,} items", Shop, logs, known, items - shop.items)
            shops.append(stack.enter_context(worker))
            known.update(worker.call("vectors"))
        runs: list[list[Replayed]] = [[] for _ in shops]
        for number in range(shop.rounds):
            say(f"scaling: round {number}" if number else "scaling: a round that does not count")
            for worker, its in zip(shops, runs, strict=True):
                its.append(worker.call("round", number))
        memory = [rss_mib(worker.pid) for worker in shops]
        empty = [worker.call("empty_mib") for worker in shops]
    every = zip(catalogues, runs, memory, empty, strict=True)
    rows = [
        _row(items, its[1:]) | {"rss_mib": round(mib, 1), "rss_empty_mib": round(before, 1)}
        for items, its, mib, before in every
    ]
    return {"how": HOW, "sizes": replace(shop, rounds=sizes.rounds).as_dict(), "catalogues": rows}


def _row(items: int, runs: Sequence[Replayed]) -> dict[str, Any]:
    cpu = [run.cpu_us_per_event for run in runs]
    names = dict.fromkeys(name for run in runs for name in run.steps)
    steps = {n: statistics.median(run.steps.get(n, 0.0) for run in runs) for n in names}
    return {
        "items": items,
        "cpu_us_per_event": round(statistics.median(cpu), 1),
        "cpu_us_per_event_rounds": [round(one, 1) for one in cpu],
        "events_per_s": round(statistics.median(run.events / run.wall_s for run in runs), 1),
        "steps_cpu_us_per_event": {name: round(us, 1) for name, us in steps.items()},
    }


app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def run(  # noqa: PLR0913 - the options are the interface
    *,
    processes: Annotated[str, typer.Option(help="How many, by commas.")] = "1,2,4",
    partitions: Annotated[int, typer.Option(min=1, help="Of the events topic.")] = 8,
    events: Annotated[int, typer.Option(min=100, help="Worked off by each.")] = 6000,
    items: Annotated[int, typer.Option(min=240, help="Of the shop.")] = 1000,
    per_s: Annotated[int, typer.Option(min=1, help="Events a second while they come and go.")] = 50,
    between_s: Annotated[float, typer.Option(min=12, help="Seconds between disturbances.")] = 25.0,
    catalogues: Annotated[str, typer.Option(help="Items, by commas; empty leaves it out.")] = "",
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures.")] = None,
    kafka: Annotated[str, typer.Option(envvar="RILLET_TEST_KAFKA", help="host:port")] = "",
    redis: Annotated[str, typer.Option(envvar="RILLET_TEST_REDIS", help="redis:// URL")] = "",
) -> None:
    """Measure how the engine scales; print tables, and write JSON.

    Processor time counts here, not the clock: processes that share too few
    processors are slow together, and cost what they cost. The time in which an
    idle process polls is told apart.

    [bold]Examples[/bold]

      scripts/services.py run -- python -m benchmarks.scaling --json build/scaling.json

      scripts/services.py run -- python -m benchmarks.scaling --catalogues 1000,10000
    """
    counts = tuple(int(one) for one in processes.split(","))
    if not (kafka and redis):
        message = "a real Kafka and a real Redis must be named"
        raise SettingsError(message, "scripts/services.py run -- python -m benchmarks.scaling")
    if max(counts) > partitions:
        raise SettingsError(f"{max(counts)} processes, {partitions} partitions: some have none")
    notes, begun = Console(stderr=True, highlight=False), time.monotonic()

    def say(text: str) -> None:
        notes.print(f"[dim]{time.monotonic() - begun:6.0f} s  {text}[/]")

    found: dict[str, Any] = {"environment": describe()}
    world = Sizes(users=600, items=items).world()
    plain = [bare(one, at) for at, one in enumerate(e for e in world.events() if type(e) is Item)]
    pace = Pace(counts, partitions, events, per_s, between_s)
    try:  # what was finished is printed and written, also after an error or Ctrl-C
        for so_far in fleet.measure(Servers(kafka, redis), plain, world, pace, say):
            found["processes"] = so_far
        if catalogues:
            grown = tuple(int(one) for one in catalogues.split(","))
            small = replace(Sizes(), warm=2000, events=1000, rounds=3)
            found["catalogues"] = measure(small, grown, {}, say)["catalogues"]
    finally:
        if json_file is not None:
            json_file.parent.mkdir(parents=True, exist_ok=True)
            json_file.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        _print(found, Console(highlight=False))


def _print(found: dict[str, Any], out: Console) -> None:
    if "processes" in found:
        _print_rows(found["processes"]["rows"], out)
        _print_pauses(found["processes"].get("pauses"), out)
    for row in found.get("catalogues", ()):
        out.print(f"{row['items']:>8,} items {row['cpu_us_per_event']:>8,.0f} CPU us/event")


def _print_rows(rows: Sequence[dict[str, Any]], out: Console) -> None:
    first = rows[0]["cpu_without_idle_us_per_event"]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("", "events/s", "CPU us/event", "without idling", "neighbours", "Redis", "MiB"):
        table.add_column(name, justify="right")
    table.add_column("like one process / not")
    for row in rows:
        kinds = [one for one in row["verify"] if one["kind"] in ("session", "itemstate")]
        cpu = row["cpu_without_idle_us_per_event"]
        table.add_row(
            str(row["processes"]),
            f"{row['events_per_s']:,.0f}",
            f"{row['cpu_us_per_event']:,.0f}",
            f"{cpu:,.0f} ({cpu / first:.2f} x)",
            f"{row['neighbours_cpu_us_per_event']:,.0f}",
            f"{row['redis_cpu_us_per_event']:,.0f}",
            f"{row['rss_mib']:,.0f}",
            ", ".join(f"{one['kind']} {one['equal']:,} / {one['wrong']}" for one in kinds),
        )
    out.print(table)


def _print_pauses(found: dict[str, Any] | None, out: Console) -> None:
    if found is None:
        return
    out.print(f"\nwaiting for a list, seconds (session {found['session_s']:g} s)")
    for name, row in found["moments"].items():
        out.print(
            f"{name:<28}{row['events']:>7} events  p50 {row['p50_s']:.3f}  "
            f"longest {row['longest_s']:.2f}  over a second {row['over_1s']:.1%}"
        )
    out.print(f"events without a list: {found['unseen']}")


def main() -> None:
    """Run the command line."""
    enter(app, "python -m benchmarks.scaling")


if __name__ == "__main__":
    main()
