"""The command ``status``: what the running consumers do."""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Callable
from typing import Annotated, Final

import typer
from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from rillet.cli.options import AsJson, RedisUrl, SettingsFile, opened
from rillet.state import State, look
from rillet.words import ago
from stream.metrics import Pulse

__all__ = ["status"]

EVERY_S: Final = 1.0
STEPS: Final = 8
"""Steps shown of a process: the ones that take most of its time."""

OUTER: Final = ("poll", "handle", "checkpoint")
"""The steps that make a loop's whole time; all others lie within them."""


def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Again every second.")] = False,
    redis: RedisUrl = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show the running consumers: rates, lag, freshness, what has been learned.

    With --watch it goes on until Ctrl-C; with --json too, one object a line.

    [bold]Examples[/bold]

      rillet status

      rillet status --watch

      rillet status --json | jq .lag
    """
    from rillet.heartbeats import Heartbeats
    from stream.store import Store

    settings, heartbeats = opened(settings_file, redis), Heartbeats()
    store = Store(settings.redis, retry_s=1.0, make=False)

    def ask() -> State:
        return look(settings, store, heartbeats=heartbeats)

    try:
        if watch:
            _watch(ask, as_json)
        elif as_json:
            typer.echo(json.dumps(ask().as_dict()))
        else:
            Console(highlight=False).print(_screen(ask()))
    except KeyboardInterrupt:
        return  # how --watch is meant to end
    finally:
        store.close()


def _watch(ask: Callable[[], State], as_json: bool) -> None:
    if as_json or not sys.stdout.isatty():
        console = Console(highlight=False)
        while True:
            state = ask()
            if as_json:
                sys.stdout.write(json.dumps(state.as_dict()) + "\n")
                sys.stdout.flush()
            else:
                console.print(_screen(state))
            time.sleep(EVERY_S)
    from rich.live import Live

    with Live(_screen(ask()), console=Console(highlight=False), screen=True) as live:
        while True:
            time.sleep(EVERY_S)
            live.update(_screen(ask()))


def _screen(state: State) -> RenderableType:
    parts: list[RenderableType] = [_processes(state), Text(), _facts(state)]
    shown = sorted(state.processes, key=lambda pulse: pulse.name != "personalize")[:1]
    for pulse in shown:
        parts += [Text(), Text(f"{pulse.name} {pulse.pid}: time by step", "bold"), _steps(pulse)]
    return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right", no_wrap=True)
    return table


def _processes(state: State) -> RenderableType:
    if not state.processes:
        return Text("no consumer is running: rillet up", "yellow")
    table = _table("consumer", "process", "up", "records", "records/s", "waiting", "partitions")
    for pulse in state.processes:
        age = ago(state.at - pulse.started_at).removesuffix(" ago")
        waiting = f"[yellow]{pulse.lag:,}[/]" if pulse.lag else "0"
        table.add_row(
            escape(pulse.name),
            escape(f"{pulse.host}:{pulse.pid}"),
            age,
            f"{pulse.events:,}",
            f"{pulse.events_per_s:,.0f}",
            waiting,
            str(len(pulse.partitions)),
        )
    return table


def _facts(state: State) -> Table:
    table = Table.grid(padding=(0, 2))
    if state.kafka:
        table.add_row("Kafka", Text(state.kafka, "red"))
    for name, lag in state.lag.items():
        table.add_row(f"lag of {name}", f"{lag:,}")
    if state.deadletters is not None:
        table.add_row("dead letters", f"{state.deadletters:,}{_reasons(state)}")
    if drifts := state.counters().get("drift", 0):
        words = f"the blend's loss rose {drifts:,} times (since the start): users do otherwise"
        table.add_row("[yellow]drift[/]", words)
    for pulse in state.processes:
        for user, events in pulse.busy.items():
            table.add_row("[yellow]too fast[/]", f"{escape(user)}: {events:,} events in a minute")
    if state.newest is not None:
        moment = dt.datetime.fromtimestamp(state.newest / 1000, dt.UTC)
        age = ago(state.at - state.newest)
        table.add_row("newest event", f"{moment:%Y-%m-%d %H:%M:%S} UTC ({age})")
    if state.model:
        table.add_row("blend", escape(state.model))
    for blend in state.blends:
        examples = ", ".join(f"{count:,} {name}" for name, count in blend.examples.items())
        table.add_row(f"  partition {blend.partition}", escape(f"{examples} examples"))
    return table


def _reasons(state: State) -> str:
    """Return what the running processes set aside, by reason."""
    counts = sorted(state.set_aside().items())
    shown = ", ".join(f"{count:,} {reason}" for reason, count in counts)
    return f" (since the start: {shown})" if shown else ""


def _steps(pulse: Pulse) -> Table:
    """Return the slowest steps of a process, those within others included."""
    table = _table("step", "runs", "p50 ms", "p99 ms", "share")
    outer = (pulse.steps[name].wall_us for name in OUTER if name in pulse.steps)
    total = sum(outer) or 1.0
    slowest = sorted(pulse.steps.items(), key=lambda one: -one[1].wall_us)[:STEPS]
    for name, one in slowest:
        p50, p99 = f"{one.p50_us / 1000:.2f}", f"{one.p99_us / 1000:.2f}"
        table.add_row(escape(name), f"{one.count:,}", p50, p99, f"{one.wall_us / total:.0%}")
    return table
