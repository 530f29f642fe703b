"""The command ``python -m benchmarks``: measure, print tables, write JSON."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import freshness, memory, quality, scaling, tables, throughput
from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.freshness import Rate
from benchmarks.place import Servers, Vectors
from benchmarks.stage import stage
from benchmarks.workload import Sizes, cut
from stream.errors import SettingsError

__all__ = ["app", "main"]

PARTS: Final = ("throughput", "memory", "freshness", "scaling", "quality")
SERVED: Final = ("throughput", "memory", "freshness")
"""Parts that need a real Kafka and a real Redis."""

QUICK: Final = Sizes(users=500, items=600, days=7.0, warm=2000, rounds=3, events=1000)
SCALING: Final = {False: (1_000, 10_000, 50_000), True: (1_000, 10_000)}
INTERRUPTED: Final = 130


@dataclass
class Bench:
    """One call: what is measured, how large, and what was found.

    Attributes
    ----------
    sizes, rate
        Of the shop, and of the open loop.
    quick
        Whether everything is small.
    servers
        Where Kafka and Redis are.
    log, evaluate_from
        A further log for the quality, and where its measurement begins.
    """

    sizes: Sizes
    rate: Rate
    quick: bool
    servers: Servers
    log: Path | None
    evaluate_from: float
    results: dict[str, Any] = field(default_factory=dict)
    known: Vectors = field(default_factory=dict)

    def measure(self, parts: list[str], say: Callable[[str], None]) -> None:
        """Measure the parts, in an order in which one can use what another has left."""
        if {"throughput", "memory"} & set(parts):
            self._staged(parts, say)
        if "freshness" in parts:
            events = list(self.sizes.world().events())
            found = freshness.measure(self.servers, events, self.rate, self.known, say)
            self.results["freshness"] = {"rate": self.rate.as_dict(), **found}
        if "scaling" in parts:
            sizes = replace(self.sizes, warm=2000, events=1000)
            self.results["scaling"] = scaling.measure(sizes, SCALING[self.quick], say)
        if "quality" in parts:
            world, begin = self.sizes.world(), self.evaluate_from
            self.results["quality"] = quality.measure(world, begin, self.known, say)
        if self.log is not None:
            found = quality.measure_log(self.log, self.evaluate_from, self.known, say)
            self.results["log"] = found

    def _staged(self, parts: list[str], say: Callable[[str], None]) -> None:
        """Measure throughput, and memory in what that has left in Redis."""
        say("throughput: loading the catalogue")
        with stage(self.servers, cut(self.sizes), self.known) as staged:
            if "throughput" in parts:
                self.results["throughput"] = throughput.measure(self.servers, staged, say)
            if "memory" in parts:
                say("memory: weighing keys")
                staged.fill()
                self.results["memory"] = memory.measure(staged.place.store)


app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def run(  # noqa: PLR0913 - the options are the interface
    *,
    only: Annotated[str, typer.Option(help=f"Parts, by commas: {', '.join(PARTS)}.")] = "",
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: does it all work?")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file.")] = Path(
        "build/bench/bench.json"
    ),
    users: Annotated[int | None, typer.Option(min=1, help="Visitors of the shop; 2000.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Items of the shop; 3000.")] = None,
    days: Annotated[float | None, typer.Option(min=0.1, help="How long it is open; 14.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another shop.")] = 7,
    rounds: Annotated[
        int | None, typer.Option(min=3, help="Rounds of throughput, scaling; 5.")
    ] = None,
    rate: Annotated[int, typer.Option(min=1, max=1000, help="Events a second, freshness.")] = 200,
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Measured seconds, freshness; 30.")
    ] = None,
    log: Annotated[Path | None, typer.Option(help="Measure the quality on this log too.")] = None,
    evaluate_from: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share of a log that is not measured.")
    ] = 0.5,
    kafka: Annotated[str, typer.Option(envvar="RILLET_TEST_KAFKA", help="host:port")] = "",
    redis: Annotated[str, typer.Option(envvar="RILLET_TEST_REDIS", help="redis:// URL")] = "",
) -> None:
    """Measure Rillet on this machine; print tables, write JSON.

    Numbers of two machines, or of a busy one, cannot be compared; the ratios of
    one run can. The first three parts need a real Kafka and a real Redis, which
    `make bench` starts; what they make there has names of its own, and is
    removed afterwards.

    [bold]Parts[/bold]

      throughput  events a second, CPU time an event: one personalize process
                  beside the floor and a plain implementation, in the same run
      memory      bytes in Redis, by kind of key
      freshness   milliseconds from publishing an event to reading its effect
      scaling     CPU time an event as the catalogue grows
      quality     HR@10 and NDCG@10, beside an oracle, popularity and chance

    [bold]Examples[/bold]

      make bench

      scripts/services.py run -- python -m benchmarks --quick

      python -m benchmarks --only scaling,quality       (needs no services)

      python -m benchmarks --only quality --log shop.jsonl.gz

      python -m benchmarks.compare base.json head.json
    """
    parts = _parts(only, kafka, redis)
    base = QUICK if quick else Sizes()
    sizes = replace(
        base,
        seed=seed,
        users=users or base.users,
        items=items or base.items,
        days=days or base.days,
        rounds=rounds or base.rounds,
    )
    usual = Rate(rate, 3.0, 8.0) if quick else Rate(rate)
    pace = replace(usual, measured_s=seconds or usual.measured_s)
    bench = Bench(sizes, pace, quick, Servers(kafka, redis), log, evaluate_from)
    _go(bench, parts, output)


def _parts(only: str, kafka: str, redis: str) -> list[str]:
    parts = [part.strip() for part in only.split(",") if part.strip()] or list(PARTS)
    if unknown := sorted(set(parts) - set(PARTS)):
        raise SettingsError(f"there is no part {', '.join(unknown)}", f"take {', '.join(PARTS)}")
    served = [part for part in SERVED if part in parts]
    if served and not (kafka and redis):
        message = f"a real Kafka and a real Redis must be named for {', '.join(served)}"
        raise SettingsError(message, "`make bench` starts them; or --only scaling,quality")
    return parts


def _go(bench: Bench, parts: list[str], output: Path) -> None:
    """Measure; whatever was finished is printed and written, also after an error or Ctrl-C."""
    environment, began = describe(), time.monotonic()
    notes = Console(stderr=True, highlight=False)

    def say(text: str) -> None:
        notes.print(f"[dim]{time.monotonic() - began:6.0f} s  {text}[/]")

    if environment["load_before"][0] > environment["cpus"]:
        busy = f"{environment['load_before'][0]} on {environment['cpus']} processors"
        notes.print(f"[yellow]the machine is busy ({busy})[/]: trust ratios more than times")
    try:
        bench.measure(parts, say)
    except KeyboardInterrupt as interrupt:
        notes.print("[yellow]interrupted[/]")
        raise typer.Exit(INTERRUPTED) from interrupt
    finally:
        if bench.results:
            environment["load_after"] = [round(load, 2) for load in os.getloadavg()]
            environment["took_s"] = round(time.monotonic() - began, 1)
            found = {
                "schema": 1,
                "quick": bench.quick,
                "sizes": bench.sizes.as_dict(),
                "environment": environment,
                "parts": bench.results,
            }
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
            tables.show(bench.results, Console(highlight=False))
            notes.print(f"\n[dim]written to {output}[/]")


def main() -> None:
    """Run the command line."""
    enter(app, "python -m benchmarks")


if __name__ == "__main__":
    main()
