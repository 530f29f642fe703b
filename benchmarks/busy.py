"""What an event of a user who goes too fast costs `personalize`, beside everybody's.

Both are handled in batches as the loop cuts them, and written to a Redis, after
a small shop's log was replayed. Reading from Kafka is not in it.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console

from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.place import embedded
from consumers.personalize import Personalize
from consumers.replay import Replay
from features.text import load_encoder
from rillet.simulate import Plan, World
from stream.events import Event, Identify, Interaction, Item, Millis, encode, partition_key
from stream.log import LogWriter
from stream.records import Record
from stream.store import Store

__all__ = ["app", "main"]

SHOP: Final = Plan(seed=11, users=100, items=300, days=2.0)
BATCH: Final = 512
ROBOT: Final = "robot"

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


def _robot(items: Sequence[str], many: int, at: int) -> list[Event]:
    """Return the clicks of a robot: a thousand in 60 ms, a million in a minute."""
    return [
        Interaction(
            timestamp=Millis(at + n * 60_000 // 1_000_000),
            user=ROBOT,
            type="click",
            item=items[n * 7 % len(items)],
            id=f"r{n}",
        )
        for n in range(many)
    ]


def _cost(personalize: Personalize, store: Store, events: Sequence[Event], first: int) -> float:
    """Handle and write events; return CPU microseconds an event."""
    topic = personalize.topics[0]
    records = [
        Record(topic, 0, at, partition_key(event).encode(), encode(event))
        for at, event in enumerate(events, first)
    ]
    begin = time.process_time()
    for start in range(0, len(records), BATCH):
        store.write(personalize.handle(records[start : start + BATCH]))
        personalize.committed()
    return (time.process_time() - begin) / len(records) * 1e6


def measure(robots: int, others: int, folder: Path) -> dict[str, Any]:
    """Return CPU microseconds of an event of a robot, and of others."""
    kinds = (Item, Identify)
    later = (event for event in World(replace(SHOP, seed=12)).events())
    ordinary = list(islice((one for one in later if not isinstance(one, kinds)), others))
    path = folder / "log.jsonl"
    events = list(World(SHOP).events())
    with LogWriter(path) as log:
        for event in events:
            log.write(encode(event))
    items = [event.item for event in events if isinstance(event, Item)]
    with embedded() as (settings, store):
        replay = Replay(settings, store, load_encoder(settings.encoder), partitions=1)
        replay.run(path)
        personalize, first = replay.personalize, 10**6
        theirs = _cost(personalize, store, ordinary, first)
        most = settings.limits.user_events_per_minute
        clicks = _robot(items, robots + most, int(events[-1].timestamp))
        _cost(personalize, store, clicks[:most], first := first + others)
        his = _cost(personalize, store, clicks[most:], first + most)
    return {"others_us": round(theirs, 1), "robot_us": round(his, 1), "share": his / theirs}


@app.command()
def run(
    *,
    robots: Annotated[int, typer.Option(min=1, help="Events of the robot.")] = 10_000,
    others: Annotated[int, typer.Option(min=1, help="Events of others.")] = 1000,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
) -> None:
    """Measure what a robot's events cost, and those of others; no server is needed."""
    with tempfile.TemporaryDirectory(prefix="rillet-busy-") as name:
        found = {"environment": describe()} | measure(robots, others, Path(name))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    Console(highlight=False).print(
        f"CPU of an event: others {found['others_us']:,.0f} microseconds, a robot "
        f"{found['robot_us']:,.0f} ({found['share']:.1%}): "
        f"{6e7 / found['robot_us']:,.0f} of his a minute and core"
    )


def main() -> None:
    """Run the command line."""
    enter(app, "python -m benchmarks.busy")


if __name__ == "__main__":
    main()
