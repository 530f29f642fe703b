"""The command ``python -m benchmarks``: measure, print tables, write JSON."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks import tables
from benchmarks.bench import LONG, PARTS, SERVED, SMALL, Amounts, Bench
from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.headline import headline
from benchmarks.place import Servers
from benchmarks.workload import Sizes
from stream.errors import SettingsError

__all__ = ["app", "main"]

SCHEMA: Final = 2
"""Of the JSON; `benchmarks.compare` reads no other."""

QUICK: Final = Sizes(users=500, items=600, days=7.0, warm=2000, rounds=3, events=1000)
INTERRUPTED: Final = 130


app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def run(  # noqa: PLR0913 - the options are the interface
    *,
    only: Annotated[str, typer.Option(help=f"Parts, by commas: {', '.join(PARTS)}.")] = "",
    quick: Annotated[
        bool, typer.Option("--quick", help=f"Small sizes, no {', no '.join(LONG)}: does it work?")
    ] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file.")] = Path(
        "build/bench.json"
    ),
    users: Annotated[int | None, typer.Option(min=1, help="Visitors of the shop; 3000.")] = None,
    items: Annotated[int | None, typer.Option(min=1, help="Items of the shop; 10000.")] = None,
    days: Annotated[float | None, typer.Option(min=0.1, help="How long it is open; 14.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another shop.")] = 7,
    warm: Annotated[
        int | None, typer.Option(min=1, help="Events before the first round; 40000.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=3, help="Rounds of throughput, scaling; 5.")
    ] = None,
    catalogues: Annotated[
        str, typer.Option(help="Items, by commas, scaling; 10000,100000,1000000.")
    ] = "",
    starts: Annotated[str, typer.Option(help="Items, by commas, startup; 10000,100000.")] = "",
    loads: Annotated[
        str, typer.Option(help="Percent of the capacity, by commas, freshness; 20,50,80.")
    ] = "",
    seconds: Annotated[
        float | None, typer.Option(min=1, help="Measured seconds of each load, freshness; 20.")
    ] = None,
    imported: Annotated[
        int | None, typer.Option(min=1000, help="Events of the part import; 1000000.")
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
    one run can. Those parts that need a real Kafka and a real Redis get them
    from `make bench`; what they make there has names of its own, and is removed
    afterwards. The JSON has the headlines on top, and all else under `parts`.

    [bold]Parts[/bold]

      throughput  CPU time an event, events a second: one personalize process with
                  a Transformer and without beside the floor and a plain implementation
      memory      bytes in Redis, by kind of key
      reads       a GET of a list, by redis-py and redis-benchmark
      freshness   milliseconds from an event's scheduled time to reading its effect,
                  at shares of the capacity of one process
      scaling     CPU time an event, and memory, as the catalogue grows
      startup     from starting personalize to its first list; memory of two of them
      training    sequences a second; a small Transformer
      encoding    texts a second
      import      events a second of replay --state-only
      index       whether a large catalogue's indexes find what comparing all would
      processes   two personalize processes beside one
      quality     HR@10 and NDCG@10, beside an oracle, popularity and chance
      search      NDCG@10 of BM25, vectors, both, and both for who asks
      serve       the HTTP service: milliseconds, requests a second, at 1 and 32 clients

    [bold]Examples[/bold]

      make bench

      scripts/services.py run -- python -m benchmarks --quick

      python -m benchmarks --only scaling,quality       (needs no services)

      python -m benchmarks --only quality --log shop.jsonl.gz

      python -m benchmarks.compare base.json head.json
    """
    base = QUICK if quick else Sizes()
    sizes = replace(
        base,
        seed=seed,
        users=users or base.users,
        items=items or base.items,
        days=days or base.days,
        warm=warm or base.warm,
        rounds=rounds or base.rounds,
    )
    usual = SMALL if quick else Amounts()
    grown = _numbers(catalogues, "--catalogues") or usual.catalogues
    if grown[0] > sizes.items:
        sizes_help = f"the shop has {sizes.items:,} items, the first of --catalogues is more"
        raise SettingsError(sizes_help, "raise --items")
    amounts = replace(
        usual,
        catalogues=grown,
        starts=_numbers(starts, "--starts") or usual.starts,
        loads=_numbers(loads, "--loads") or usual.loads,
        rate=replace(usual.rate, measured_s=seconds or usual.rate.measured_s),
        imported=imported or usual.imported,
    )
    usually = [part for part in PARTS if not (quick and part in LONG)]
    parts = _parts(only or ",".join(usually), kafka, redis)
    bench = Bench(sizes, amounts, quick, Servers(kafka, redis), log, evaluate_from)
    _go(bench, parts, output)


def _numbers(text: str, option: str) -> tuple[int, ...]:
    """Read whole numbers by commas; they are put in order."""
    try:
        found = sorted({int(one) for one in text.split(",") if one.strip()})
    except ValueError as error:
        raise SettingsError(f"{option} {text}: whole numbers by commas are wanted") from error
    if found and found[0] < 1:
        raise SettingsError(f"{option} {text}: they are to be above 0")
    return tuple(found)


def _parts(only: str, kafka: str, redis: str) -> list[str]:
    parts = [part.strip() for part in only.split(",") if part.strip()]
    if not parts:
        raise SettingsError("--only names no part", f"take {', '.join(PARTS)}")
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
        for part in bench.measure(parts, say):
            say(f"{part}: finished")
    except KeyboardInterrupt as interrupt:
        notes.print("[yellow]interrupted[/]")
        raise typer.Exit(INTERRUPTED) from interrupt
    finally:
        if bench.results:
            environment["load_after"] = [round(load, 2) for load in os.getloadavg()]
            environment["took_s"] = round(time.monotonic() - began, 1)
            found = _as_json(bench, environment)
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
            out = Console(highlight=False)
            tables.show(bench.results, out)
            tables.show_headline(found, out)
            notes.print(f"\n[dim]written to {output}[/]")


def _as_json(bench: Bench, environment: dict[str, Any]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "quick": bench.quick,
        **headline(bench.results),
        "sizes": bench.sizes.as_dict(),
        "amounts": asdict(bench.amounts),
        "environment": environment,
        "parts": bench.results,
    }


def main() -> None:
    """Run the command line."""
    enter(app, "python -m benchmarks")


if __name__ == "__main__":
    main()
