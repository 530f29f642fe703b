"""The commands about event logs: ``simulate``, ``import``, ``validate``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from rillet.cli.progress import progress, reading
from stream.errors import LogError

__all__ = ["import_log", "simulate", "validate"]

ENDINGS: Final = (".jsonl", ".jsonl.gz", ".jsonl.zst")


def _log_name(output: str) -> str:
    """Refuse a name that promises another format, or another compression, than is written."""
    if output != "-" and not output.endswith(ENDINGS):
        mend = f"end it in {', '.join(ENDINGS)}, or write - for standard output"
        raise LogError(f"an event log cannot be called {output}", mend)
    return output


Output = Annotated[
    str,
    typer.Option(
        *("--output", "-o"),
        help="The log to write: .jsonl, .jsonl.gz, .jsonl.zst, or -",
        callback=_log_name,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]


def simulate(  # noqa: PLR0913 - the options are the interface
    *,
    output: Output,
    users: Annotated[int, typer.Option(help="Visitors, most of whom come only later.")] = 2000,
    items: Annotated[int, typer.Option(help="Items, a quarter of which arrive later.")] = 3000,
    days: Annotated[float, typer.Option(help="How long the shop is open.")] = 14.0,
    seed: Annotated[int, typer.Option(help="Another seed, another world.")] = 7,
    measure: Annotated[
        bool, typer.Option("--measure", help="Also print what an oracle could achieve.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write the event log of a made-up shop whose visitors have planted tastes.

    Text, prices and makers of the items carry meaning; tastes drift; visits
    have an intent; lists are shown with position bias and logged propensities;
    users and items keep arriving. The same seed and sizes give the same bytes.

    [bold]Examples[/bold]

      rillet simulate -o world.jsonl.gz

      rillet simulate -o big.jsonl.gz --users 50000 --items 20000 --days 30

      rillet simulate -o - --users 50 | head -3

      rillet simulate -o world.jsonl.gz --measure   (the best anybody could do)
    """
    from rillet.simulate import Plan, World

    began = time.perf_counter()
    world = World(Plan(seed=seed, users=users, items=items, days=days))
    summary: dict[str, Any] = {"log": output, "events": _write(world, output)}
    summary["wall_s"] = round(time.perf_counter() - began, 3)
    if measure:
        summary["next"] = _measure(world)
    _tell(summary, as_json, quiet=output == "-")


def _write(world: Any, output: str) -> int:
    from stream.events import encode
    from stream.log import LogWriter

    start, every = world.plan.start_ms, 1024
    with LogWriter(output) as log, progress("simulating", world.span_ms) as done:
        for event in world.events():
            log.write(encode(event))
            if log.records % every == 0:
                done(event.timestamp - start)
        return log.records


def _measure(world: Any) -> dict[str, object]:
    from rillet.simulate import oracle_hit_rates

    with progress("measuring", None):
        return oracle_hit_rates(world, sample=0.1).as_dict()


def _tell(summary: dict[str, Any], as_json: bool, quiet: bool) -> None:
    """Print the summary; to standard error where standard output is the log itself."""
    if as_json:
        typer.echo(json.dumps(summary), err=quiet)
        return
    rate = summary["events"] / max(summary["wall_s"], 1e-9)
    typer.echo(f"{summary['log']}: {summary['events']:,} events, {rate:,.0f} a second", err=quiet)
    if "next" in summary:
        _tell_rates(summary["next"], quiet)


def _tell_rates(found: dict[str, Any], quiet: bool) -> None:
    for name, rate in found["rates"].items():
        text = (
            f"  {name:<11} HR@{found['k']} {rate['hr']:.3f}  NDCG@{found['k']} {rate['ndcg']:.3f}"
        )
        typer.echo(text, err=quiet)
    cold = f"{found['cold_users']:.1%} by new users, {found['cold_items']:.1%} on new items"
    typer.echo(f"  {found['positives']:,} positive interactions: {cold}", err=quiet)


def validate(
    log: Annotated[
        str, typer.Argument(help="The log: .jsonl, .jsonl.gz, .jsonl.zst, an archive, or -")
    ],
    settings_file: Annotated[
        Path | None, typer.Option("--settings", help="The settings file (rillet.toml).")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Read a whole event log and say what is wrong with it.

    For each problem: how often, on which lines, what it will do to your
    recommendations, and how to mend it. Exits with 1 if a record cannot be read.

    [bold]Examples[/bold]

      rillet validate events.jsonl.gz

      zcat old/*.gz | rillet validate -

      rillet validate events.jsonl.gz --json | jq '.problems[].code'
    """
    from rillet.validate import validate as read
    from stream.settings import load_settings

    settings = load_settings(settings_file)
    with reading("reading", log) as done:
        report = read(log, settings, on_bytes=done)
    if as_json:
        typer.echo(json.dumps(report.as_dict()))
    else:
        from rillet.cli.report import show

        show(report)
    if not report.ok:
        raise typer.Exit(1)


def import_log(  # noqa: PLR0913 - the options are the interface
    kind: Annotated[str, typer.Argument(help="metarank, gorse, movielens or csv")],
    path: Annotated[Path, typer.Argument(help="The file, folder or zip to read.")],
    *,
    output: Output,
    items: Annotated[
        Path | None, typer.Option(help="A further file with the items (gorse, csv).")
    ] = None,
    users: Annotated[Path | None, typer.Option(help="A further file with users (gorse).")] = None,
    columns: Annotated[
        str, typer.Option("--map", help="NAME=COLUMN or NAME:=CONSTANT, by commas (csv).")
    ] = "",
    item_map: Annotated[str, typer.Option(help="The same for the file of --items (csv).")] = "",
    time_format: Annotated[
        str, typer.Option(help="auto, s, ms, iso, or a pattern like %d/%m/%Y (csv).")
    ] = "auto",
    separator: Annotated[str, typer.Option(help="Splits cells that hold lists (csv).")] = "",
    delimiter: Annotated[str, typer.Option(help="Between columns; else guessed (csv).")] = "",
    encoding: Annotated[str, typer.Option(help="Of the file (csv).")] = "utf-8-sig",
    header: Annotated[
        bool, typer.Option(help="Without one, columns are called 1, 2, 3 ... (csv).")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Turn another format into an event log, sorted by time.

    Rows that are no events do not stop it: they go to OUTPUT.rejected.jsonl with
    line and reason. Exits with 1 only if nothing at all could be read.

    [bold]Names for --map[/bold]: user, session, item, timestamp, type, value, ranking, id, and
    field.ANYTHING. In --item-map: item, timestamp, and any field (title, price, ...).

    [bold]Examples[/bold]

      rillet import metarank events.jsonl.gz -o log.jsonl.gz

      rillet import gorse feedback.json --items items.json -o log.jsonl.gz

      rillet import movielens ml-latest-small.zip -o log.jsonl.gz

      rillet import csv orders.csv --map user=customer,item=sku,timestamp=date,type:=purchase
      --items products.csv --item-map item=sku,title=name,price=price -o log.jsonl.gz
    """
    from rillet.importers import IMPORTERS, Options, convert

    if kind not in IMPORTERS:
        known = "; ".join(f"{one.name}: {one.about}" for one in IMPORTERS.values())
        raise LogError(f"there is no importer {kind!r}", known)
    options = Options(
        items, users, columns, item_map, time_format, separator, delimiter, encoding, header
    )
    with progress(f"importing {path.name}", 1.0) as done:
        summary = convert(IMPORTERS[kind], path, output, options, tell=done)
    _tell_import(summary.as_dict(), as_json, quiet=output == "-")
    if not summary.written:
        raise typer.Exit(1)


def _tell_import(summary: dict[str, Any], as_json: bool, quiet: bool) -> None:
    if as_json:
        typer.echo(json.dumps(summary), err=quiet)
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in summary["kinds"].items())
    line = f"{summary['log']}: {summary['written']:,} events ({kinds or 'none'})"
    if summary["rejected"]:
        reasons = sorted(summary["reasons"].items(), key=lambda pair: -pair[1])
        line += f"; {summary['rejected']:,} rows rejected, most often: {reasons[0][0]}"
        line += f" (all in {summary['rejects']})"
    typer.echo(line, err=quiet)
