"""The command ``estimate``: what an engine of some size will take."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rillet.cli.options import AsJson, SettingsFile, opened

if TYPE_CHECKING:
    from rillet.estimate import Estimate, Load
    from rillet.sizes import Shape

__all__ = ["estimate"]


def estimate(  # noqa: PLR0913 - the options are the interface
    *,
    users: Annotated[str, typer.Option(help="Users whose state lives, as 250k or 10M.")] = "100k",
    items: Annotated[str, typer.Option(help="Items of the catalogue.")] = "10k",
    history: Annotated[float, typer.Option(min=0, help="Interactions of a user.")] = 20.0,
    lists: Annotated[float, typer.Option(min=0, help="Lists that a user is shown.")] = 5.0,
    shown: Annotated[float, typer.Option(min=0, help="Items of a shown list.")] = 10.0,
    length: Annotated[
        int, typer.Option("--list", min=0, help="Items recommended; 0: recommend.length.")
    ] = 0,
    successors: Annotated[
        float, typer.Option(min=0, help="Distinct items that followed an item.")
    ] = 60.0,
    gone: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share of users who are deleted, or identified as others."),
    ] = 0.1,
    text: Annotated[int, typer.Option(min=0, help="Characters of an item's description.")] = 300,
    like: Annotated[
        Path | None, typer.Option(help="Take what is usual from a log instead; not users, items.")
    ] = None,
    rate: Annotated[
        str, typer.Option(help="Events a second over the day, for Kafka's and the archive's disk.")
    ] = "0",
    keep: Annotated[float, typer.Option(min=0, help="Days that Kafka keeps records.")] = 7.0,
    replicas: Annotated[int, typer.Option(min=1, help="Replicas of Kafka's topics.")] = 1,
    processes: Annotated[int, typer.Option(min=1, help="Processes of `personalize`.")] = 1,
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Predict Redis' memory by kind of key, and the disk of Kafka and the archive.

    Users and states are made as the engine makes them, by your settings, and
    weighed as Redis keeps them. What is usual of a user and an item you know
    best, or a log does: --like. Nothing is connected to.

    [bold]Examples[/bold]

      rillet estimate --users 10M --items 1M

      rillet estimate --users 2M --items 50k --history 40 --list 20 --rate 500 --keep 3

      rillet estimate --users 1M --items 20k --like events.jsonl.gz --json | jq .redis_bytes
    """
    from rillet.estimate import Load
    from rillet.estimate import estimate as compute
    from rillet.sizes import Shape, number_of, shape_of
    from stream.events import decode
    from stream.log import read_log

    overrides: dict[str, Any] = {"recommend": {"length": length}} if length else {}
    settings = opened(settings_file, **overrides)
    usual: dict[str, Any] = {"history": history, "lists": lists, "shown": shown}
    usual |= {"successors": successors, "text_chars": text, "gone": gone}
    shape = Shape(number_of(users), number_of(items), **usual)
    if shape.users < 1 or shape.items < 1:
        raise typer.BadParameter("there must be a user and an item")
    event_bytes = 0.0
    if like is not None:
        shape, event_bytes = shape_of((decode(raw) for _, raw in read_log(like)), shape)
    flow: dict[str, Any] = {"event_bytes": event_bytes, "keep_days": keep, "replicas": replicas}
    flow |= {"processes": processes, "partitions": settings.kafka.partitions}
    load = Load(number_of(rate), **flow)
    found = compute(shape, load, settings)
    if as_json:
        typer.echo(json.dumps({"shape": asdict(shape), "load": asdict(load)} | found.as_dict()))
    else:
        _show(found, shape, load)


def _show(found: Estimate, shape: Shape, load: Load) -> None:
    from rillet.sizes import human

    console = Console(highlight=False)
    table = Table(box=None, pad_edge=False)
    for column in ("Redis", "keys", "value", "together"):
        table.add_column(column, justify="left" if column == "Redis" else "right", no_wrap=True)
    for kind in sorted(found.kinds, key=lambda one: -one.bytes):
        table.add_row(kind.name, f"{kind.keys:,}", human(kind.value_bytes), human(kind.bytes))
    table.add_row("tables of keys", "", "", human(found.tables))
    table.add_row("[bold]all[/]", "", "", f"[bold]{human(found.redis_bytes)}[/]")
    console.print(table)
    console.print(
        f"\na user {human(found.per_user)}, an item {human(found.per_item)}; of "
        f"{shape.users:,} users with {shape.history:g} interactions, {shape.items:,} items"
    )
    if load.per_s:
        console.print(
            f"Kafka {human(found.kafka_bytes_a_day)} a day uncompressed, "
            f"{human(found.kafka_bytes)} in {load.keep_days:g} days on {load.replicas} replicas; "
            f"archive {human(found.archive_bytes_a_day)} a day"
        )
    console.print("Give Redis a third more, for growing tables, copies at a save and clients.")
