"""The commands ``deadletters list``, ``show`` and ``replay``."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rillet.cli.options import AsJson, RedisUrl, SettingsFile, opened

if TYPE_CHECKING:
    from stream.letters import Letter
    from stream.settings import Settings

__all__ = ["app"]

PROBLEM: Final = 1
SHOWN: Final = 2_000
"""Bytes of a record that are printed."""

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

_Where = Annotated[
    list[str],
    typer.Option(
        "--where",
        metavar="NAME=VALUE",
        help="Only these: reason, topic, partition, offset (7 or 7..9), since, until.",
    ),
]


@app.callback()
def _deadletters() -> None:
    """Look at what the consumers set aside, and publish it again once it is mended.

    A record that is no event goes to the topic kafka.deadletters with what is
    wrong with it. `topic`, `partition` and `offset` are those it came from,
    `since` and `until` bound the time at which it was set aside.

    [bold]Examples[/bold]

      rillet deadletters list

      rillet deadletters show --where reason=malformed -n 3

      rillet deadletters replay --where reason=future --dry-run

    Each explains itself: rillet deadletters COMMAND --help
    """


@app.command("list")
def list_letters(
    *,
    where: _Where = [],  # noqa: B006 - typer reads it, and nobody writes to it
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Count the dead letters by reason and topic.

    [bold]Examples[/bold]

      rillet deadletters list

      rillet deadletters list --where since=2026-11-28 --json
    """
    groups: dict[tuple[str, str], dict[str, Any]] = {}
    for letter in _letters(opened(settings_file), where):
        fresh = {"count": 0, "first": letter.time, "last": letter.time}
        group = groups.setdefault((letter.reason, letter.source.topic), fresh)
        group["count"] += 1
        group["first"] = min(group["first"], letter.time)
        group["last"] = max(group["last"], letter.time)
        group["example"] = letter.message
    rows = [{"reason": why, "topic": at} | groups[why, at] for why, at in sorted(groups)]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo("no dead letters")
        return
    table = Table(box=None, pad_edge=False)
    for name in ("reason", "topic", "letters", "last", "such as"):
        table.add_column(name, justify="right" if name == "letters" else "left")
    for row in rows:
        cells = (row["reason"], row["topic"], f"{row['count']:,}", _moment(row["last"]))
        table.add_row(*map(escape, (*cells, row["example"])))
    Console(highlight=False).print(table)


@app.command()
def show(
    *,
    where: _Where = [],  # noqa: B006
    n: Annotated[int, typer.Option("-n", min=1, help="How many, the oldest first.")] = 10,
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Print dead letters: the record, what is wrong, and where it came from.

    [bold]Examples[/bold]

      rillet deadletters show --where reason=malformed -n 3

      rillet deadletters show --where topic=rillet.events --where offset=1200..1300 --json
    """
    out = Console(highlight=False, soft_wrap=True)
    for at, letter in enumerate(_letters(opened(settings_file), where)):
        if at == n:
            typer.echo(f"the first {n}; -n shows more", err=True)
            break
        if as_json:
            typer.echo(json.dumps(letter.as_dict(whole=True)))
            continue
        where_from = f"{letter.source}@{letter.offset}"
        field = f" in {letter.field}" if letter.field else ""
        out.print(f"[bold]{escape(where_from)}[/]  {_moment(letter.time)}  [red]{letter.reason}[/]")
        out.print(escape(f"  {letter.message}{field}"))
        out.print(escape(f"  key {letter.record.key!r}"))
        out.print(escape(f"  {letter.record.value[:SHOWN].decode('utf-8', 'replace')}\n"))


@app.command()
def replay(  # noqa: PLR0913 - each is a choice of the caller's
    *,
    where: _Where = [],  # noqa: B006
    every: Annotated[bool, typer.Option("--all", help="All of them, without --where.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also what is still bad.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Also what was replayed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    redis: RedisUrl = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Publish dead letters again to the topic that they came from.

    What would be set aside again is passed over, and so is what was published
    again before: Redis remembers it for redis.ttl_days. Letters stay in their
    topic until its retention ends.

    [bold]Examples[/bold]

      rillet deadletters replay --where reason=future --dry-run

      rillet deadletters replay --where reason=oversize --where since=2026-11-28
    """
    from rillet.replayed import replay_letters
    from stream.errors import SettingsError
    from stream.kafka import KafkaSink
    from stream.store import Store

    if not where and not every:
        raise SettingsError("nothing says which dead letters", "give --where, or --all")
    settings = opened(settings_file, redis)
    store = Store(settings.redis, retry_s=5, make=False)
    try:
        sink = None if dry_run else KafkaSink(settings.kafka)
        try:
            letters = _letters(settings, where)
            done = replay_letters(letters, settings, store, sink, force=force, again=again)
        finally:
            if sink is not None:
                sink.close()
    finally:
        store.close()
    if as_json:
        typer.echo(json.dumps(done.as_dict()))
    else:
        verb = "would be published again" if dry_run else "published again"
        typer.echo(f"{done.sent:,} {verb}, {done.before:,} were before")
        for why, count in sorted(done.passed.items()):
            typer.echo(f"{count:,} passed over: {why}")
        if done.doubtful:
            typer.echo(f"{done.doubtful:,} may have gone out before: --again sends them", err=True)
    if done.doubtful:
        raise typer.Exit(PROBLEM)


def _letters(settings: Settings, where: list[str]) -> Iterator[Letter]:
    from stream.letters import letter_of, parse_where
    from stream.topics import read_topic

    chosen = parse_where(where)
    for record in read_topic(settings.kafka, settings.kafka.deadletters):
        letter = letter_of(record)
        if chosen.meets(letter):
            yield letter


def _moment(time_ms: int) -> str:
    seconds = min(time_ms / 1000, time.time() + 1e9)
    return f"{dt.datetime.fromtimestamp(seconds, dt.UTC):%Y-%m-%d %H:%M:%S}"
