"""The command ``python -m benchmarks.swap``."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.place import Servers
from benchmarks.swap.run import Load, measure
from benchmarks.swap.table import show
from stream.errors import SettingsError

__all__ = ["app", "main"]

INTERRUPTED: Final = 130
SHORTEST_S: Final = 7.0

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def run(  # noqa: PLR0913 - the options are the interface
    *,
    rate: Annotated[int, typer.Option(min=1, max=1000, help="Events a second.")] = 200,
    seconds: Annotated[float, typer.Option(min=SHORTEST_S, help="How long.")] = 90.0,
    users: Annotated[int, typer.Option(min=1, help="Visitors of the shop.")] = 2000,
    items: Annotated[int, typer.Option(min=1, help="Items of the shop.")] = 5000,
    past: Annotated[int, typer.Option(min=1000, help="Events that models learn from.")] = 20_000,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of each training.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another shop.")] = 7,
    verify: Annotated[bool, typer.Option(help="Compare with a replay in the end.")] = True,
    cold: Annotated[
        bool, typer.Option("--cold", help="Start personalize when no model is in sight yet.")
    ] = False,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw latency and memory, PNG.")] = None,
    kafka: Annotated[str, typer.Option(envvar="RILLET_TEST_KAFKA", help="host:port")] = "",
    redis: Annotated[str, typer.Option(envvar="RILLET_TEST_REDIS", help="redis:// URL")] = "",
) -> None:
    """Promote models, and offer broken ones, while events are published at a fixed rate.

    Three models are trained on a made-up shop's log. Then events are published,
    and in even intervals a model is offered with `rillet models promote`: the
    three, one with a changed bit, one whose weights are of another shape than it
    says, and one that is cut after it was promoted. Printed are events lost and
    doubled, the time from an event to its user's fresh list, when each model was
    in lists first, and the memory of `personalize`.

    It needs a real Kafka and a real Redis; what it makes there has names of its
    own, and is removed afterwards.

    [bold]Examples[/bold]

      scripts/services.py run -- python -m benchmarks.swap --plot swap.png

      python -m benchmarks.swap --seconds 40 --items 1000 --no-verify
    """
    if not (kafka and redis):
        mend = "`scripts/services.py run -- python -m benchmarks.swap` starts them"
        raise SettingsError("a real Kafka and a real Redis must be named", mend)
    notes = Console(stderr=True, highlight=False)
    began, environment = time.monotonic(), describe()

    def say(text: str) -> None:
        load = os.getloadavg()[0]
        notes.print(f"[dim]{time.monotonic() - began:6.0f} s  load {load:4.1f}  {text}[/]")

    load = Load(users, items, seed, past, rate, seconds, epochs)
    try:
        found, sight = measure(Servers(kafka, redis), load, say, verify=verify, cold=cold)
    except KeyboardInterrupt as interrupt:
        notes.print("[yellow]interrupted[/]")
        raise typer.Exit(INTERRUPTED) from interrupt
    environment["load_after"] = [round(one, 2) for one in os.getloadavg()]
    found = {"load": load.as_dict(), "environment": environment} | found
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    show(found, Console(highlight=False))
    if plot is not None:
        from benchmarks.swap.picture import draw  # matplotlib

        draw(sight, plot)


def main() -> None:
    """Run the command line."""
    enter(app, "python -m benchmarks.swap")


if __name__ == "__main__":
    main()
