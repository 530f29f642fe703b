"""The command ``verify``: whether the live state equals a replay of the same log."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rillet.cli.options import AsJson, SettingsFile, opened
from rillet.cli.progress import reading
from stream.settings import Settings

if TYPE_CHECKING:
    from rillet.verify import Comparison
    from stream.store import Store

__all__ = ["verify"]

PROBLEM: Final = 1
BY_USER: Final = ("session", "forgotten", "recs")


def verify(
    log: Annotated[str, typer.Argument(help="The log that was published, and nothing else.")],
    *,
    recs: Annotated[
        bool,
        typer.Option("--recs", help="Also the lists; they need batch.lockstep and batch.cut."),
    ] = False,
    stamps: Annotated[
        bool, typer.Option("--stamps", help="Also of items: where they were folded up to.")
    ] = False,
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Replay a log and compare what it makes with what the live engine wrote to Redis.

    Every user's state and every item's statistics and card are compared byte
    for byte. Exits with 1 where anything differs. The log must be all that was
    published to these topics, and the consumers must have worked it off
    (`rillet status`). Users whom an `identify` touches are left out, and in a log
    that has one the users' offsets too: what is handed over comes back through the
    topic, and where it falls depends on the batches.

    [bold]Examples[/bold]

      rillet publish events.jsonl.gz && rillet verify events.jsonl.gz

      rillet verify events.jsonl.gz --json | jq '.[] | select(.wrong > 0)'
    """
    from consumers.wiring import configure_logs
    from rillet.verify import KINDS, compare, identified
    from stream.store import Store

    configure_logs(-1)
    settings = opened(settings_file)
    touched = identified(log)
    live = Store(settings.redis, retry_s=5)
    own = opened(settings_file, "embedded:")
    replayed = Store(own.redis)
    try:
        alone = _replay(own, replayed, log, settings)
        kinds = [kind for kind in KINDS if kind != "recs" or recs]
        found = [
            compare(
                live,
                replayed,
                kind,
                stamps=not touched if kind in BY_USER else stamps or alone or kind == "item",
                without=touched if kind in BY_USER else (),
            )
            for kind in kinds
        ]
    finally:
        replayed.close()
        live.close()
    _tell(found, as_json)
    if touched and not as_json:
        typer.echo(f"{len(touched)} users whom an identify touches are left out", err=True)
    if any(one.wrong for one in found):
        raise typer.Exit(PROBLEM)


def _replay(own: Settings, store: Store, log: str, settings: Settings) -> bool:
    """Replay into a store, partitioned as Kafka is; tell whether no topic is partitioned."""
    from consumers.replay import Replay
    from consumers.wiring import partitions_of
    from features.text import load_encoder

    partitions = partitions_of(settings)
    engine = Replay(own, store, load_encoder(own.encoder), partitions=partitions)
    with reading("replaying", log) as done:
        engine.run(log, on_bytes=done)
    return set(partitions.values()) == {1}


def _tell(found: list[Comparison], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([one.as_dict() for one in found]))
        return
    out = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for heading in ("keys", "equal", "wrong"):
        table.add_column(heading, justify="right")
    for one in found:
        wrong = f"[red]{one.wrong:,}[/]" if one.wrong else "[green]0[/]"
        table.add_row(one.kind, f"{one.keys:,}", f"{one.equal:,}", wrong)
    out.print(table)
    for one in found:
        for what in ("missing", "extra", "differing"):
            names = getattr(one, what)
            if names:
                out.print(f"{one.kind} {what}: {escape(', '.join(names))}")
