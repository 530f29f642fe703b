"""The entry point of ``rillet``: the list of commands, the help, the last handler of errors.

A command is registered by one line in :data:`COMMANDS` and loaded when it is
called, so that ``rillet --help`` stays quick however heavy a command is.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command as build

from stream.errors import RilletError
from stream.threads import one_thread_each

__all__ = ["COMMANDS", "Entry", "app", "fail", "main"]

SUCCESS: Final = 0
PROBLEM: Final = 1
"""The command did its work and found a problem in what it looked at."""
FAILURE: Final = 2
"""The command could not do its work: wrong usage, a missing file, a server that is away."""

_DATA: Final = "Event logs"
_ENGINE: Final = "The engine"


class Entry(NamedTuple):
    """Where a command lies (``module:function`` or ``module:typer_app``), and what it does."""

    target: str
    summary: str
    panel: str = _ENGINE


COMMANDS: Final[dict[str, Entry]] = {
    "simulate": Entry("rillet.cli.data:simulate", "Write a made-up shop's event log", _DATA),
    "import": Entry("rillet.cli.data:import_log", "Turn other formats into an event log", _DATA),
    "validate": Entry("rillet.cli.data:validate", "Say what is wrong with an event log", _DATA),
    "replay": Entry("rillet.cli.engine:replay", "Run the engine over a log, and measure it"),
    "verify": Entry("rillet.cli.verify:verify", "Compare the live state with a replay"),
    "recommend": Entry("rillet.cli.reading:recommend", "Show a user's recommendations"),
    "explain": Entry("rillet.cli.reading:explain", "Say why an item is recommended, or not"),
    "init": Entry("rillet.cli.live:init", "Write a settings file, or make the topics"),
    "publish": Entry("rillet.cli.live:publish", "Send an event log to Kafka"),
    "consume": Entry("rillet.cli.live:consume", "Run one consumer"),
    "up": Entry("rillet.cli.live:up", "Run all consumers"),
    "serve": Entry("rillet.cli.serve:serve", "Serve recommendations over HTTP"),
    "doctor": Entry("rillet.cli.health:doctor", "Check everything, and say how to mend it"),
    "estimate": Entry("rillet.cli.estimate:estimate", "Predict memory and disk for a size"),
    "archive": Entry("rillet.cli.archive:app", "Look after the archive of the stream"),
    "train": Entry("rillet.cli.train:train", "Train the next Transformer, and promote it"),
    "train-encoder": Entry(
        "rillet.cli.train_encoder:train_encoder", "Tune the text encoder, and promote it"
    ),
    "models": Entry("rillet.cli.models:app", "List, promote and prune trained models"),
    "deadletters": Entry(
        "rillet.cli.deadletters:app", "Look at bad records, and publish them again"
    ),
    "forget": Entry("rillet.cli.forget:forget", "Erase all that is known of a user"),
    "privacy": Entry("rillet.cli.privacy:app", "Pseudonyms of users: what they are, a new key"),
    "status": Entry("rillet.cli.status:status", "Show what the running consumers do"),
}
"""Every command, in the order of the help. To add one, add a line."""


class _LazyGroup(TyperGroup):
    """Knows its commands by name and imports one only when it is called."""

    _listing = False

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        for name, entry in COMMANDS.items():  # stand-ins, for the help and for "did you mean"
            stand_in = TyperCommand(name, help=entry.summary, rich_help_panel=entry.panel)
            self.commands[name] = stand_in

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the names in the order in which the help shows them."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Load a command; while the help is printed, return its stand-in."""
        if self._listing or cmd_name not in COMMANDS:
            return self.commands.get(cmd_name)
        return _load(cmd_name, COMMANDS[cmd_name])

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help from the summaries alone, importing nothing."""
        self._listing = True
        super().format_help(ctx, formatter)


def _load(name: str, entry: Entry) -> Any:
    module, _, attribute = entry.target.partition(":")
    target = getattr(importlib.import_module(module), attribute)
    if isinstance(target, typer.Typer):
        command = build(target)
    else:
        alone = typer.Typer(add_completion=False)
        alone.command(name)(target)
        command = build(alone)
    command.name = name
    return command


app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            typer.echo(f"rillet {version('rillet')}")
        except PackageNotFoundError:
            typer.echo("rillet (not installed; run from its source)")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Recommendations that follow what your users do, from Kafka to Redis.

    [bold]A first look, without any server[/bold]

      rillet simulate -o world.jsonl.gz     a made-up shop
      rillet validate world.jsonl.gz        what is in the log
      rillet replay world.jsonl.gz          learn from it, measure, print the table

    [bold]With your own data[/bold]

      rillet import csv orders.csv --map user=customer,item=sku,timestamp=date -o log.jsonl.gz
      rillet import movielens ml-latest-small.zip -o log.jsonl.gz

    Exit codes: 0 all well, 1 a problem was found in what was looked at, 2 wrong
    usage or something is missing. Each command explains itself: rillet COMMAND --help
    """


def fail(error: RilletError) -> None:
    """Print an error and its mend to standard error, in colour only on a terminal."""
    typer.secho("error: ", fg="red", bold=True, nl=False, err=True)
    typer.echo(str(error), err=True)
    if error.mend:
        typer.secho("mend:  ", fg="green", bold=True, nl=False, err=True)
        typer.echo(error.mend, err=True)


def main() -> None:
    """Run the command line; the only place where errors become exit codes."""
    one_thread_each()
    try:
        app()
    except RilletError as error:
        fail(error)
        sys.exit(FAILURE)


if __name__ == "__main__":
    main()
