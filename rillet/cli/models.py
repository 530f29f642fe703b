"""The commands ``models list``, ``show``, ``promote``, ``rollback``, ``prune`` and ``export``."""

from __future__ import annotations

import datetime as dt
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any, Final, NamedTuple

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rillet.cli.export import export_model
from rillet.cli.options import AsJson, RedisUrl, SettingsFile, opened
from rillet.cli.verdicts import mark
from rillet.words import ago
from stream.errors import ModelError, StoreError
from stream.settings import Settings

if TYPE_CHECKING:
    from models.manifest import Kind, Manifest
    from models.registry import Pointer, Registry

__all__ = ["app"]

PROBLEM: Final = 1
FIGURE: Final = "ndcg@10"
"""What is listed of a model's metrics, where it has it; ``show`` has all."""

COLOURS: Final = {"current": "green", "refused": "yellow", "damaged": "red"}

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

_Place = Annotated[str, typer.Option("--registry", help="Another registry than training.registry.")]
_Version = Annotated[str, typer.Argument(help="As `rillet models list` names it.")]
_Reason = Annotated[str, typer.Option(help="Why; it is kept with the pointer.")]


@app.callback()
def _models() -> None:
    """List, promote and prune the models that were trained on the stream.

    They lie in the folder that training.registry names. Of each kind, sequence
    and encoder, one is the current one: running consumers load it beside the
    one they have, and swap. Nothing of a model is trusted before its SHA-256
    is what its manifest says.

    [bold]Examples[/bold]

      rillet models list

      rillet models promote 20261124T183000-ab12cd

      rillet models rollback

    Each explains itself: rillet models COMMAND --help
    """


@app.command("list")
def list_models(
    *,
    kind: Annotated[str, typer.Option(help="Only these: sequence or encoder.")] = "",
    registry: _Place = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """List all versions, oldest first, and say which is the current one.

    [bold]Examples[/bold]

      rillet models list

      rillet models list --kind sequence --registry s3://shop/models

      rillet models list --json | jq -r '.[] | select(.status == "current").version'
    """
    place = _registry(opened(settings_file), registry)
    rows = [
        _Row(one.version, _status(place, one.version, one.manifest), one.manifest, one.problem)
        for one in place.entries(_kind(kind) if kind else None)
    ]
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows]))
        return
    out = Console(highlight=False)
    if not rows:
        out.print(f"there is no model at {escape(place.url)} yet", soft_wrap=True)
        return
    out.print(_listing(rows))
    for row in rows:
        if row.problem:
            out.print(f"[red]{escape(row.problem)}[/]", soft_wrap=True)


@app.command("show")
def show_model(
    version: _Version,
    *,
    registry: _Place = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show how a model was made, and whether its files are still what was written.

    Exits with 1 where a file is missing or differs.

    [bold]Examples[/bold]

      rillet models show 20261124T183000-ab12cd

      rillet models show 20261124T183000-ab12cd --json | jq .metrics
    """
    place = _registry(opened(settings_file), registry)
    manifest, problem = place.manifest(version), ""
    try:
        place.load(version)
    except ModelError as error:
        problem = str(error)
    status = _status(place, version, manifest)
    if as_json:
        plain: dict[str, Any] = msgspec.to_builtins(manifest)
        typer.echo(json.dumps(plain | {"status": status, "problem": problem}))
    else:
        out = Console(highlight=False)
        out.print(_details(manifest, status))
        line = f"[red]{escape(problem)}[/]" if problem else "[green]all files are intact[/]"
        out.print(line, soft_wrap=True)
    if problem:
        raise typer.Exit(PROBLEM)


@app.command("promote")
def promote_model(  # noqa: PLR0913 - the options are the interface
    version: _Version,
    *,
    reason: _Reason = "",
    registry: _Place = "",
    redis: RedisUrl = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the current one of its kind, and tell the running consumers.

    All its files are verified before. The gate is not asked: this is how a
    person overrules it. Promoting the current one changes nothing, but tells
    the consumers again.

    [bold]Examples[/bold]

      rillet models promote 20261124T183000-ab12cd

      rillet models promote 20261124T183000-ab12cd --reason "better on new items"
    """
    settings = opened(settings_file, redis)
    place = _registry(settings, registry)
    _tell_pointer(place, place.promote(version, reason), settings, as_json)


@app.command("rollback")
def rollback_model(  # noqa: PLR0913 - the options are the interface
    *,
    kind: Annotated[str, typer.Option(help="sequence or encoder")] = "sequence",
    reason: _Reason = "",
    registry: _Place = "",
    redis: RedisUrl = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Go back to the model before the current one, and tell the running consumers.

    Once more goes one further back.

    [bold]Examples[/bold]

      rillet models rollback

      rillet models rollback --kind encoder --reason "lists got worse"
    """
    settings = opened(settings_file, redis)
    place = _registry(settings, registry)
    _tell_pointer(place, place.rollback(_kind(kind), reason), settings, as_json)


@app.command("prune")
def prune_models(
    *,
    keep: Annotated[
        int | None, typer.Option(min=1, help="How many of each kind stay; else training.keep.")
    ] = None,
    registry: _Place = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Remove old versions, and what jobs that died left behind.

    The current one of each kind and the one before it always stay.

    [bold]Examples[/bold]

      rillet models prune

      rillet models prune --keep 2 --json | jq '.removed | length'
    """
    settings = opened(settings_file)
    place = _registry(settings, registry)
    removed = place.prune(settings.training.keep if keep is None else keep)
    if as_json:
        typer.echo(json.dumps({"registry": place.url, "removed": removed}))
        return
    for version in removed:
        typer.echo(f"removed {version}")
    left = len(place.entries())
    typer.echo(f"{len(removed):,} removed, {left:,} left at {place.url}")


app.command("export")(export_model)


def _registry(settings: Settings, place: str) -> Registry:
    from models.registry import Registry

    return Registry(place or settings.training.registry)


def _kind(text: str) -> Kind:
    from models.manifest import KINDS

    for kind in KINDS:
        if kind == text:
            return kind
    raise ModelError(f"there are no models of kind {text!r}", f"the kinds are {', '.join(KINDS)}")


def _status(place: Registry, version: str, manifest: Manifest | None) -> str:
    """Return what a version is: what the pointer says comes before what the gate said."""
    if manifest is None:
        return "damaged"
    try:
        pointer = place.current(manifest.kind)
    except ModelError:
        pointer = None
    if pointer is not None and version == pointer.current.version:
        return "current"
    if pointer is not None and version == pointer.before:
        return "before"
    return manifest.status


class _Row(NamedTuple):
    """A line of the listing."""

    version: str
    status: str
    manifest: Manifest | None
    problem: str

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values; ``manifest`` without what ``show`` is for."""
        found: dict[str, Any] = {"version": self.version, "status": self.status}
        if self.manifest is None:
            return found | {"problem": self.problem}
        plain = msgspec.to_builtins(self.manifest)
        names = ("kind", "made_at", "data", "metrics", "parent", "encoder", "notes")
        return found | {name: plain[name] for name in names} | {"bytes": _bytes(self.manifest)}


def _listing(rows: list[_Row]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("version", "kind", "status", "made"):
        table.add_column(heading, no_wrap=True)
    for heading in ("events", FIGURE, "MB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        colour = COLOURS.get(row.status, "default")
        head = [escape(row.version), "", f"[{colour}]{row.status}[/]"]
        if row.manifest is None:
            table.add_row(*head)
            continue
        one = row.manifest
        head[1] = one.kind
        age = ago(time.time() * 1000 - one.made_at)
        size = f"{_bytes(one) / 1e6:,.1f}"
        table.add_row(*head, age, f"{one.data.events:,}", _figure(one.metrics), size)
    return table


def _figure(metrics: dict[str, Any]) -> str:
    """Return the first metric of that name, however deep it lies; "" where there is none."""
    for name, value in _flat(metrics):
        if name == FIGURE or name.endswith(f".{FIGURE}"):
            return _number(value)
    return ""


def _bytes(manifest: Manifest) -> int:
    return sum(file.bytes for file in manifest.files.values())


def _details(one: Manifest, status: str) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row("version", one.version)
    table.add_row("kind", one.kind)
    table.add_row("status", f"[{COLOURS.get(status, 'default')}]{status}[/]")
    table.add_row("made", f"{_time(one.made_at)} ({ago(time.time() * 1000 - one.made_at)})")
    data = one.data
    if data.events:
        start = _time(data.first_ms) if data.first_ms else "the beginning"
        table.add_row("trained on", f"{start} to {_time(data.last_ms)}")
        table.add_row("", f"{data.events:,} events, {data.users:,} users, {data.items:,} items")
    for heading, text in (("parent", one.parent), ("encoder", one.encoder)):
        if text:
            table.add_row(heading, escape(text))
    table.add_row("seed", str(one.seed))
    _add(table, "notes", ((str(place), note) for place, note in enumerate(one.notes, 1)))
    _add(table, "metrics", ((name, _number(value)) for name, value in _flat(one.metrics)))
    _add(table, "config", ((name, str(value)) for name, value in _flat(one.config)))
    _add(table, "offsets", ((name, f"{value:,}") for name, value in one.offsets.items()))
    _add(table, "packages", iter(one.packages.items()))
    _add(table, "files", ((name, f"{file.bytes:,} bytes") for name, file in one.files.items()))
    return table


def _add(table: Table, heading: str, facts: Iterator[tuple[str, str]]) -> None:
    for place, (name, text) in enumerate(facts):
        table.add_row("" if place else heading, f"{escape(name)}  {escape(text)}")


def _flat(values: dict[str, Any], head: str = "") -> Iterator[tuple[str, Any]]:
    """Yield nested values by dotted names."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{head}{name}.")
        else:
            yield f"{head}{name}", value


def _number(value: Any) -> str:
    return mark(value) if isinstance(value, float) or value is None else str(value)


def _time(ms: int) -> str:
    return f"{dt.datetime.fromtimestamp(ms / 1000, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


def _tell_pointer(place: Registry, pointer: Pointer, settings: Settings, as_json: bool) -> None:
    """Announce the current version, and say what was done."""
    where, problem = _announced(place, pointer, settings)
    version = pointer.current.version
    if as_json:
        found: dict[str, Any] = {"kind": pointer.kind, "version": version, "before": pointer.before}
        found |= {"registry": place.url, "at": pointer.current.at, "announced": not problem}
        typer.echo(json.dumps(found))
    else:
        before = f" (before it: {pointer.before})" if pointer.before else ""
        typer.echo(f"{version} is the current {pointer.kind} model at {place.url}{before}")
    if not problem:
        typer.echo(f"announced at {where}: running consumers load it now", err=True)
        return
    typer.echo(f"not announced: {problem}", err=True)
    again = f"rillet models promote {version} --registry {place.url}"
    line = f"to tell running consumers, once Redis is there: {again}"
    typer.echo(line, err=True)


def _announced(place: Registry, pointer: Pointer, settings: Settings) -> tuple[str, str]:
    """Tell it in Redis; return where, or why it could not be told."""
    from stream.announcement import Announced, announce
    from stream.store import Store

    if settings.redis.url.get_secret_value() == "embedded:":
        return "", "redis.url names a Redis that lives in one process only"
    try:
        store = Store(settings.redis, retry_s=0)
    except StoreError as error:
        return "", str(error)
    try:
        current = pointer.current
        announce(store, pointer.kind, Announced(current.version, place.url, current.at))
        return store.url, ""
    except StoreError as error:
        return "", str(error)
    finally:
        store.close()
