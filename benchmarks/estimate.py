"""``rillet estimate`` against a real Redis that is filled with real values.

A made-up shop's users are folded by the engine's own code, their lists have the
form of lists that a replay of a smaller shop made, and all is written as the
consumers write it. Then ``used_memory`` and ``MEMORY USAGE`` are compared with
what was predicted from the shop's means alone.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.memory import measure
from benchmarks.place import Servers, embedded, settings_of
from consumers.replay import Replay
from features.card import AsOf, encode_card, fold_item
from features.parts.base import Rules
from features.session import Session, encode_session, fold, new_session
from features.text import load_encoder
from features.tombstone import encode_tombstone, is_shell
from features.vectors import to_bytes
from models.activity import ActivityWriter, decode_activity, rows_by_item
from models.answer import Answer, decode_answer, encode_answer
from models.item_state import ItemState, encode_item_state, fold_rows, view
from rillet.estimate import DIMENSIONS, Estimate, Load, estimate
from rillet.sample_values import ENCODER
from rillet.simulate import Plan, World
from rillet.sizes import Shape, human, shape_of
from stream.errors import RilletError
from stream.events import Event, Item, encode, partition_key
from stream.keys import DEFAULT_USER, Keys
from stream.log import LogWriter
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

__all__ = ["app", "main"]

Say = Callable[[str], None]

LIFE_MS: Final = 86_400_000
CHUNK: Final = 5000
SMALL: Final = Plan(seed=11, users=80, items=300, days=5.0)
"""The shop whose replay gives the lists their form."""

app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


class Shop:
    """A simulated shop, folded: the state of every user and item."""

    def __init__(self, settings: Settings) -> None:
        self.settings, self._keys = settings, Keys(settings.redis.prefix)
        self.sessions: dict[str, Session] = {}
        self.items: dict[str, Item] = {}
        self.states: dict[str, ItemState] = {}

    def folding(self, events: Iterable[Event]) -> Iterator[Event]:
        """Yield the events again, each folded in."""
        rules = Rules(self.settings.session, self.settings.interactions)
        writer = ActivityWriter(self.settings.neighbours, "", 1)
        for offset, event in enumerate(events):
            yield event
            if isinstance(event, Item):
                self.items[event.item] = event
                continue
            user = partition_key(event)
            session = self.sessions.get(user)
            if session is None:
                session = self.sessions[user] = new_session(user)
            moment = fold(session, event, (0, offset), rules)
            if moment is not None:
                writer.add(session, event, moment, (0, offset))
            if offset % CHUNK == 0:
                self._tell(writer)
        self._tell(writer)

    def _tell(self, writer: ActivityWriter) -> None:
        for one in writer.drain():
            record = decode_activity(one.value)
            for item, rows in rows_by_item(record).items():
                state = self.states.get(item)
                if state is None:
                    state = self.states[item] = ItemState(as_of=AsOf(0, 0, 0), item=item)
                fold_rows(state, record, rows, self.settings.neighbours)

    def values(self, lists: list[Answer]) -> Iterator[tuple[str, str, bytes]]:
        """Yield kind, name and value of every key."""
        chance = np.random.default_rng(5)
        ids = np.array(list(self.items))
        for number, (user, session) in enumerate(self.sessions.items()):
            if is_shell(session):  # what lies under his own key is gone within the hour
                hashed = self._keys.forgotten(user).rpartition(":")[2]
                yield "forgotten", hashed, encode_tombstone(session)
                continue
            yield "session", user, encode_session(session)
            yield (
                "recs",
                user,
                encode_answer(_renamed(lists[number % len(lists)], user, ids, chance)),
            )
        for item, event in self.items.items():
            card = fold_item(None, event, self.settings, partition=0, offset=10**5)
            yield "item", item, encode_card(msgspec.structs.replace(card, encoder=ENCODER))
            vector = to_bytes(chance.standard_normal(DIMENSIONS))
            yield "vector", f"{ENCODER}:{item:0>64}", vector
        for item, state in self.states.items():
            yield "itemstate", item, encode_item_state(state)
            yield "neighbours", item, msgspec.json.encode(view(state, self.settings.neighbours))


def _renamed(form: Answer, user: str, ids: Any, chance: np.random.Generator) -> Answer:
    """Return a list of the same form about items of this shop."""
    drawn = iter(chance.choice(ids, 4 * len(form.items) + 4).tolist())
    items = [
        msgspec.structs.replace(
            one,
            item=next(drawn),
            reasons=[
                why if why.item is None else msgspec.structs.replace(why, item=next(drawn))
                for why in one.reasons
            ],
        )
        for one in form.items
    ]
    return msgspec.structs.replace(form, user=user, items=items)


def _forms(folder: Path) -> list[Answer]:
    """Replay a small shop; return its users' lists."""
    path = folder / "small.jsonl"
    with LogWriter(path) as log:
        for event in World(SMALL).events():
            log.write(encode(event))
    with embedded() as (settings, store):
        Replay(settings, store, load_encoder(settings.encoder), partitions=1).run(path)
        found = [decode_answer(raw) for user, raw in store.scan("recs") if user != DEFAULT_USER]
    if not found:
        raise RilletError("the small shop's replay made no list")
    return found


def _fill(store: Store, shop: Shop, lists: list[Answer]) -> dict[str, int]:
    """Write all; return how many keys of each kind."""
    head = store.keys.pattern("*").split("*", 1)[0]
    counts: dict[str, int] = {}
    waiting: list[Plain] = []
    for kind, name, value in shop.values(lists):
        counts[kind] = counts.get(kind, 0) + 1
        waiting.append(Plain(f"{head}{kind}:{name}", value, LIFE_MS))
        if len(waiting) == CHUNK:
            store.write_plain(waiting)
            waiting.clear()
    store.write_plain(waiting)
    return counts


def _predicted(usual: Shape, shop: Shop) -> Estimate:
    """Predict from the means of the shop's log, as ``rillet estimate --like`` does."""
    successors = float(np.mean([len(state.next) for state in shop.states.values()]))
    gone = sum(map(is_shell, shop.sessions.values()))
    users = len(shop.sessions) - gone
    # As if tombstones lived no longer than states: nothing has expired here yet.
    lives = shop.settings.redis.ttl_days / shop.settings.privacy.tombstone_days
    sizes: dict[str, Any] = {
        "users": users,
        "items": len(shop.items),
        "successors": successors,
        "gone": gone / users * lives,
    }
    return estimate(replace(usual, **sizes), Load(), shop.settings)


def _compared(found: Estimate, before: int, store: Store) -> dict[str, Any]:
    """Return what there is beside what was predicted, by kind and in all."""
    weighed = measure(store)["kinds"]
    kinds = []
    for kind in found.kinds:
        if kind.name in weighed:
            real = weighed[kind.name]
            # MEMORY USAGE leaves out the entry in the table of times to live
            taken = real["bytes"] + 32 * real["keys"]
            row = {"kind": kind.name, "keys": real["keys"], "predicted": kind.bytes, "real": taken}
            kinds.append(row | {"off": kind.bytes / taken - 1})
    real = store.health().used_bytes - before
    names = {row["kind"] for row in kinds}
    mine = sum(kind.bytes for kind in found.kinds if kind.name in names) + found.tables
    row = {"kind": "used_memory", "keys": sum(one["keys"] for one in kinds)}
    return {"kinds": [*kinds, row | {"predicted": mine, "real": real, "off": mine / real - 1}]}


def run_once(plan: Plan, servers: Servers, folder: Path, say: Say) -> dict[str, Any]:
    """Fill, weigh, compare, and remove what was filled in."""
    gc.disable()  # what is made here stays, and there are millions of it
    settings = settings_of(servers, f"bench-estimate-{time.time_ns():x}")
    say("replaying a small shop, for the form of lists")
    lists = _forms(folder)
    say(f"folding a shop of {plan.users:,} users and {plan.items:,} items")
    shop = Shop(settings)
    usual, _ = shape_of(shop.folding(World(plan).events()), Shape(plan.users, plan.items))
    say(f"predicting from the means of {len(shop.sessions):,} users")
    found = _predicted(usual, shop)
    store = Store(settings.redis)
    try:
        before = store.health().used_bytes
        say("filling Redis")
        _fill(store, shop, lists)
        return _compared(found, before, store) | {"estimate": found.as_dict()}
    finally:
        _drop(store)
        store.close()


def _drop(store: Store) -> None:
    for kind in ("session", "recs", "forgotten", "item", "vector", "itemstate", "neighbours"):
        head = store.keys.pattern(kind).removesuffix("*")
        names = [name for name, _ in store.scan(kind)]
        store.write_plain([Plain(f"{head}{name}", None) for name in names])


def show(found: dict[str, Any], console: Console) -> None:
    """Print what was compared."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "keys", "predicted", "real", "off"):
        table.add_column(column, justify="right" if column else "left")
    for row in found["kinds"]:
        sizes = (human(row["predicted"]), human(row["real"]), f"{row['off']:+.1%}")
        table.add_row(row["kind"], f"{row['keys']:,}", *sizes)
    console.print(table)


@app.command()
def run(  # noqa: PLR0913 - the options are the interface
    *,
    users: Annotated[int, typer.Option(min=1, help="Users to fill in.")] = 100_000,
    items: Annotated[int, typer.Option(min=1, help="Items to fill in.")] = 20_000,
    days: Annotated[float, typer.Option(min=0.1, help="Days that the shop is open.")] = 5.0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another shop.")] = 3,
    out: Annotated[Path | None, typer.Option("--json", help="Write the figures here.")] = None,
    redis: Annotated[str, typer.Option(envvar="RILLET_TEST_REDIS", help="redis:// URL")] = "",
) -> None:
    """Fill a real Redis with a shop's users and items, and compare with `rillet estimate`.

    The Redis should have nothing else to do: its `used_memory` is what counts. It
    takes some minutes and 2 GB here, and as much in Redis. Without --redis one is
    started for it.

    [bold]Examples[/bold]

      python -m benchmarks.estimate

      python -m benchmarks.estimate --users 5000 --items 2000 --days 3
    """
    import tempfile

    notes, began = Console(stderr=True, highlight=False), time.monotonic()

    def say(text: str) -> None:
        notes.print(f"[dim]{time.monotonic() - began:6.0f} s  {text}[/]")

    plan = Plan(seed=seed, users=users, items=items, days=days)
    with tempfile.TemporaryDirectory(prefix="rillet-estimate-") as name, embedded() as (_, own):
        found = run_once(plan, Servers("", redis or own.url), Path(name), say)
    found = {"plan": asdict(plan), "environment": describe()} | found
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    show(found, Console(highlight=False))


def main() -> None:
    """Run the command line."""
    enter(app, "python -m benchmarks.estimate")


if __name__ == "__main__":
    main()
