"""The commands that read: ``recommend`` and ``explain``."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rillet.cli.options import AsJson, RedisUrl, SettingsFile, opened
from rillet.words import ago, all_in_words, in_words, title_of

if TYPE_CHECKING:
    from features.card import ItemCard
    from features.session import Session
    from models.answer import Answer, Listed
    from rillet.client import Client

__all__ = ["explain", "recommend"]

PROBLEM: Final = 1


def recommend(
    user: Annotated[str, typer.Argument(help="Whose list.")],
    *,
    n: Annotated[int, typer.Option("-n", min=1, help="How many items.")] = 10,
    redis: RedisUrl = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Show a user's recommendations as they lie in Redis, and why the first ones are there.

    A user nobody knows yet gets the list for everybody, and it says so.

    [bold]Examples[/bold]

      rillet recommend alice

      rillet recommend alice -n 3 --json | jq -r '.items[].item'

      rillet recommend alice --redis embedded:kept     (after rillet replay --state kept)
    """
    from rillet.client import Client

    with Client(opened(settings_file, redis)) as client:
        answer = client.recommend(user, n)
        if as_json:
            typer.echo(msgspec.json.encode(answer))
            return
        session = client.session(user) if answer.user == user else None
        _show(Console(highlight=False), user, answer, client, session)


def _show(out: Console, user: str, answer: Answer, client: Client, session: Session | None) -> None:
    if answer.user != user:
        line = f"[yellow]nobody knows {escape(user)} yet[/]: this is the list for everybody"
        out.print(line, soft_wrap=True)
    anchors = [why.item for listed in answer.items for why in listed.reasons if why.item]
    cards = client.items([*(listed.item for listed in answer.items), *anchors])
    out.print(_table(answer, cards, session))
    at = dt.datetime.fromtimestamp(answer.as_of.event_time / 1000, dt.UTC)
    age = ago(time.time() * 1000 - answer.as_of.event_time)
    line = f"after the event of {at:%Y-%m-%d %H:%M:%S} UTC ({age}), by {answer.model}"
    out.print(f"[dim]{line}[/]", soft_wrap=True)


def _table(answer: Answer, cards: Mapping[str, ItemCard], session: Session | None) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("", justify="right")
    table.add_column("item", no_wrap=True)
    table.add_column("title")
    table.add_column("chance", justify="right")
    table.add_column("because")
    for place, listed in enumerate(answer.items, 1):
        reasons = "; ".join(all_in_words(listed.reasons, cards, session, listed.item))
        row = (str(place), listed.item, title_of(listed.item, cards), f"{listed.score:.1%}")
        table.add_row(*map(escape, (*row, reasons)))
    return table


def explain(
    user: Annotated[str, typer.Argument(help="Whose list.")],
    item: Annotated[str, typer.Argument(help="Which item.")],
    *,
    attention: Annotated[
        Path | None,
        typer.Option(help="Draw to this PNG file what the Transformer looks at in his past."),
    ] = None,
    redis: RedisUrl = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Say why an item is in a user's list, or why it may not be.

    A share is a source's part of everything that spoke for the item. Reasons are
    kept of a list's first items alone (recommend.explained). Exits with 1 where
    the item is not in the list. What the Transformer looks at is where it takes
    from, not why the item is listed.

    [bold]Examples[/bold]

      rillet explain alice sku-7

      rillet explain alice sku-7 --json

      rillet explain alice sku-7 --attention alice.png
    """
    from rillet.client import Client

    with Client(opened(settings_file, redis)) as client:
        answer = client.recommend(user, 1_000)
        found = _explained(client, user, item, answer)
        if attention is not None:
            found |= {"attention": _drawn(client, user, attention)}
        if as_json:
            typer.echo(msgspec.json.encode(found))
        else:
            session = client.session(user)
            out = Console(highlight=False, soft_wrap=True)
            _show_why(out, found, client, session)
            if attention is not None:
                out.print(f"what the Transformer looks at is drawn in {escape(str(attention))}")
    if found["place"] is None:
        raise typer.Exit(PROBLEM)


def _drawn(client: Client, user: str, target: Path) -> dict[str, Any]:
    """Draw what the Transformer looks at in a user's past; return it as plain values."""
    from rillet.attention import looks_of
    from rillet.cli.attention import draw_looks
    from stream.errors import NothingYetError

    if (session := client.session(user)) is None:
        raise NothingYetError(f"nobody knows {user} yet", "publish what he does first")
    looks = looks_of(client.settings, client.store, session)
    draw_looks(looks, user, target)
    return looks.as_dict()


def _explained(client: Client, user: str, item: str, answer: Answer) -> dict[str, Any]:
    """Return what there is to say, as plain values."""
    found: dict[str, Any] = {
        "user": user,
        "item": item,
        "list_of": answer.user,
        "place": None,
        "of": len(answer.items),
    }
    for place, listed in enumerate(answer.items, 1):
        if listed.item == item:
            return found | {"place": place, "score": listed.score, "reasons": listed.reasons}
    return found | {"why_not": _why_not(client, user, item, answer.items)}


def _why_not(client: Client, user: str, item: str, listed: list[Listed]) -> list[str]:
    card, session = client.item(item), client.session(user)
    if card is None:
        return ["unknown: no item event of it was consumed"]
    if card.withdrawn:
        return ["withdrawn: a `delete` took it out of the catalogue"]
    reasons = []
    if session is not None and (item in session.owned.items or item in session.history.items):
        rule = client.settings.recommend.repeats
        reasons.append(f"already taken: recommend.repeats is {rule!r}")
    if session is not None and item in session.ignored.items:
        times = session.ignored.items[item][0]
        reasons.append(f"shown {times} times and not taken")
    if len(listed) >= client.settings.recommend.length:
        lowest = f"below the last one's chance of {listed[-1].score:.1%}"
        return [*reasons, f"other items had a better chance, {lowest}"]
    return reasons or ["no source proposed it"]


def _show_why(
    out: Console, found: Mapping[str, Any], client: Client, session: Session | None
) -> None:
    if found["list_of"] != found["user"]:
        out.print(f"[yellow]nobody knows {escape(found['user'])} yet[/]: the list for everybody")
    anchors = [why.item for why in found.get("reasons", []) if why.item]
    cards = client.items([found["item"], *anchors])
    title = title_of(found["item"], cards)
    name = escape(f"{found['item']} ({title})" if title else found["item"])
    if found["place"] is None:
        out.print(f"{name} is [yellow]not[/] among the {found['of']} items of the list:")
        for line in found["why_not"]:
            out.print(f"  {escape(line)}")
        return
    chance = f"{found['score']:.1%}"
    place = f"{name}: place {found['place']} of {found['of']}, chance {chance}"
    if not found["reasons"]:
        out.print(f"{place}; reasons are kept of the first items (recommend.explained)")
        return
    out.print(f"{place}, because")
    for why in found["reasons"]:
        words = escape(in_words(why, cards, session, found["item"]))
        out.print(f"  {why.share:>6.1%}  {why.source.replace('_', ' '):<18} {words}")
