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
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks import fleet
from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.fleet import Pace
from benchmarks.place import Servers, embedded
from benchmarks.workload import Sizes, cut
from consumers.replay import Replay, Replayed
from features.text import TextEncoder, load_encoder
from stream.errors import SettingsError
from stream.events import Event, Field, Item, encode
from stream.log import LogWriter
from stream.settings import Settings

__all__ = ["HOW", "app", "bare", "main", "measure"]

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
            found["catalogues"] = measure(small, grown, say)["catalogues"]
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
