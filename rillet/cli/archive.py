"""The commands ``archive show``, ``compact``, ``prune`` and ``forget``."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rillet.cli.options import AsJson, SettingsFile, opened
from stream.errors import SettingsError

if TYPE_CHECKING:
    from stream.archive.survey import Survey
    from stream.archive.upkeep import Tidied

__all__ = ["app"]

PROBLEM: Final = 1
MANY_SPANS: Final = 100
"""So many spans of a partition mean that nobody compacts the archive."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

_Place = Annotated[str, typer.Option("--archive", help="Another archive than archive.url.")]


@app.callback()
def _archive() -> None:
    """Look at the archive of the stream, and keep it small and lawful.

    `rillet consume archive` writes all events and items to Parquet files by
    day, in the folder that archive.url names. These commands may run while it
    does, and while others read. An archive is a log to all other commands.

    [bold]Examples[/bold]

      rillet archive show

      rillet archive compact && rillet archive prune --keep-days 400     (from cron, every night)

      rillet archive forget alice

      rillet replay archive

    Each explains itself: rillet archive COMMAND --help
    """


@app.command()
def show(
    *,
    archive: _Place = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show which days, rows and offsets the archive has.

    Exits with 1 where files are gone that the archive names.

    [bold]Examples[/bold]

      rillet archive show

      rillet archive show --archive s3://shop/archive

      rillet archive show --json | jq '.places[] | {topic, partition, end}'
    """
    from stream.archive.survey import survey

    found = survey(archive or opened(settings_file).archive.url)
    if as_json:
        typer.echo(json.dumps(found.as_dict()))
    else:
        _print(found)
    if found.missing:
        raise typer.Exit(PROBLEM)


@app.command()
def compact(
    *,
    archive: _Place = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Put small files together, one or a few a day and partition.

    What users did who were forgotten leaves the files, rows that were written
    twice too, and files that a crash left behind are removed. Every night is
    often enough.

    [bold]Examples[/bold]

      rillet archive compact

      rillet archive compact --json | jq .files
    """
    from stream.archive.upkeep import compact as work

    done = work(archive or opened(settings_file).archive.url)
    line = f"{done.files_before:,} files became {done.files:,}"
    if done.swept:
        line += f"; {done.swept:,} that crashes left behind were removed"
    _tell(done, line, as_json)


@app.command()
def prune(
    *,
    keep_days: Annotated[
        int, typer.Option(min=0, help="Full days to keep; 0: as archive.keep_days says.")
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    archive: _Place = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove days that are older than the archive is to keep.

    A day is that of the events, in UTC. The consumer goes on where it was.

    [bold]Examples[/bold]

      rillet archive prune --keep-days 400 --dry-run

      RILLET_ARCHIVE__KEEP_DAYS=400 rillet archive prune
    """
    from stream.archive.upkeep import prune as work

    settings = opened(settings_file).archive
    days = keep_days or settings.keep_days
    if not days:
        raise SettingsError(
            "nothing says how many days are to be kept",
            "give --keep-days, or set archive.keep_days",
        )
    done = work(archive or settings.url, days, dry=dry_run)
    rows, files = done.rows_before - done.rows, done.files_before - done.files
    verb = "would go" if dry_run else "went"
    _tell(done, f"{rows:,} rows in {files:,} files {verb}; {done.rows:,} rows stay", as_json)


@app.command()
def forget(
    user: Annotated[str, typer.Argument(help="Who is to be forgotten.")],
    *,
    archive: _Place = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove at once all that a user did up to now from the archive's files.

    So do the visitors' rows who turned out to be him (`identify`). Other than
    this command, a `delete` event empties his state and his list too, and is
    honoured by the archive: his rows are not read from then on, and leave the
    files when these are compacted.

    [bold]Examples[/bold]

      rillet archive forget alice

      rillet archive forget alice --archive s3://shop/archive
    """
    from stream.archive.upkeep import forget as work

    done = work(archive or opened(settings_file).archive.url, user)
    gone = done.rows_before - done.rows
    _tell(done, f"{user}: {gone:,} rows went, {done.rows:,} stay", as_json)


def _tell(done: Tidied, line: str, as_json: bool) -> None:
    typer.echo(json.dumps(msgspec.to_builtins(done)) if as_json else line)


def _print(found: Survey) -> None:
    out = Console(highlight=False, soft_wrap=True)
    table = _table("day", "rows", "files", "size")
    for day in found.days:
        table.add_row(day.day, f"{day.rows:,}", f"{day.files:,}", _size(day.bytes))
    if len(found.days) > 1:
        table.add_row("all", f"{found.rows:,}", f"{found.files:,}", _size(found.bytes))
    out.print(table)
    out.print()
    table = _table("partition", "offsets", "rows", "spans")
    for place in found.places:
        name = escape(f"{place.topic}[{place.partition}]")
        offsets = f"{place.start:,} to {place.end - 1:,}"
        table.add_row(name, offsets, f"{place.rows:,}", f"{place.spans:,}")
    out.print(table)
    for line in _remarks(found):
        out.print(line)


def _remarks(found: Survey) -> list[str]:
    remarks = [""]
    if found.first_ms is not None and found.last_ms is not None:
        remarks.append(f"{found.url}: from {_moment(found.first_ms)} to {_moment(found.last_ms)}")
    if found.forgotten:
        remarks.append(f"{found.forgotten:,} users are forgotten")
    if any(place.spans > MANY_SPANS for place in found.places):
        remarks.append("[yellow]many small files[/]: rillet archive compact")
    if found.missing:
        gone = escape(found.missing[0])
        remarks.append(f"[red]{len(found.missing):,} files are gone[/], such as {gone}")
    return remarks


def _table(*columns: Any) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    return table


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"


def _moment(time_ms: int) -> str:
    moment = dt.datetime.fromtimestamp(time_ms / 1000, dt.UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
