"""The command ``forget``."""

from __future__ import annotations

import datetime as dt
import json
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from rillet.cli.options import AsJson, RedisUrl, SettingsFile, opened

if TYPE_CHECKING:
    from rillet.erasure import Erased
    from stream.settings import Settings
    from stream.store import Store

__all__ = ["forget"]

PROBLEM: Final = 1
SHOWN: Final = 10


def forget(  # noqa: PLR0913 - each is a choice of the caller's
    user: Annotated[str, typer.Argument(help="Who is to be forgotten.")],
    *,
    offline: Annotated[
        bool,
        typer.Option("--offline", help="Without Kafka, while no consumer runs; also embedded:DIR."),
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Scan all of Redis and the archive for him at the end.")
    ] = False,
    wait: Annotated[
        float, typer.Option(min=0, help="Seconds to wait for the consumers, and for the archive.")
    ] = 120.0,
    redis: RedisUrl = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Erase all that is known of a user, and say what was erased.

    Publishes a `delete` event and waits until the consumers have handled it:
    state, recommendations, open lists and learners' notes are gone then. It
    takes him out of the archive's files and of the dead letters by itself. A
    tombstone without his id keeps events out that happened before; what he
    does from now on begins a new life.

    What Kafka holds of the events topic goes with its retention. Exits with 1
    where something is left, or was not done in time.

    [bold]Examples[/bold]

      rillet forget alice --verify

      rillet forget alice --json | jq .left

      rillet forget alice --redis embedded:kept     (after rillet replay --state kept)
    """
    from stream.pseudonyms import pseudonyms_of
    from stream.store import Store

    settings = opened(settings_file, redis)
    embedded = settings.redis.url.get_secret_value().startswith("embedded:")
    store = Store(settings.redis, retry_s=5, make=False)
    try:
        names = pseudonyms_of(settings.privacy).all_of(user)
        directly = offline or embedded
        done = _begun(user, names, directly=directly)
        _forget(settings, store, done, wait, directly=directly)
        if verify:
            from rillet.erasure import verify as scan

            scan(settings, store, done)
    finally:
        store.close()
    _tell(user, done, as_json)
    if done.problems or done.left or not done.handled:
        raise typer.Exit(PROBLEM)


def _begun(user: str, names: list[str], *, directly: bool) -> Erased:
    """Begin the report; only where nothing is published his raw id is erased by, too."""
    from rillet.erasure import Erased

    now = time.time_ns() // 1_000_000
    if directly:
        return Erased(list(dict.fromkeys([*names, user])), now)
    return Erased(names, now, raw="" if user in names else user)


def _forget(settings: Settings, store: Store, done: Erased, wait: float, *, directly: bool) -> None:
    from rillet.client import Client
    from rillet.erasure import erase, forget_directly, look_for

    look_for(store, done)
    if directly:
        forget_directly(settings, store, done)
        return
    with Client(settings) as client:
        order = {"event": "delete", "timestamp": done.forgotten_at}
        client.publish([order | {"user": name} for name in done.names])
        client.flush()
    erase(settings, store, done, wait)


def _tell(user: str, done: Erased, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(done.as_dict()))
        return
    out = Console(highlight=False, soft_wrap=True)
    moment = dt.datetime.fromtimestamp(done.forgotten_at / 1000, dt.UTC)
    word = "is forgotten" if done.handled else "[red]is not forgotten yet[/]"
    out.print(f"{escape(user)} {word}: all up to {moment:%Y-%m-%d %H:%M:%S} UTC")
    out.print(f"  state            {done.events:,} events")
    out.print(f"  recommendations  {done.lists:,}")
    out.print(f"  open lists       {done.open_lists:,}")
    rows = "there is none here" if done.archive_rows is None else f"{done.archive_rows:,} rows"
    out.print(f"  archive          {rows}")
    letters = "not asked for" if done.dead_letters is None else f"{done.dead_letters:,}"
    out.print(f"  dead letters     {letters}")
    if done.left is not None:
        word = f"[red]{len(done.left):,} places[/]" if done.left else "[green]nowhere[/]"
        out.print(f"  he still stands  {word}")
        for place in done.left[:SHOWN]:
            out.print(f"    {escape(place)}")
    for problem in done.problems:
        out.print(f"[yellow]{escape(problem)}[/]")
