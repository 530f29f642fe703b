"""The command ``serve``: the HTTP service, and keys for it."""

from __future__ import annotations

import json
import webbrowser
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rillet.cli.options import AsJson, RedisUrl, SettingsFile, Verbose, opened
from stream.errors import SettingsError
from stream.settings import Settings

if TYPE_CHECKING:
    from consumers.embedded import Embedded

__all__ = ["serve"]


def serve(  # noqa: PLR0913 - the options are the interface
    *,
    host: Annotated[str, typer.Option(help="Address to listen on; else serve.host.")] = "",
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="0 is any; else serve.port.")
    ] = None,
    open_docs: Annotated[
        bool, typer.Option("--open-docs", help="Open its documentation in a browser.")
    ] = False,
    embedded: Annotated[
        Path | None,
        typer.Option(help="Run the engine here, without Kafka; its state is kept in this folder."),
    ] = None,
    resume_clock: Annotated[
        bool,
        typer.Option("--resume-clock", help="With --embedded: go on at the newest event's time."),
    ] = False,
    open_console: Annotated[
        bool, typer.Option("--open", help="Open the console in a browser.")
    ] = False,
    console: Annotated[bool, typer.Option(help="Serve the console at /console.")] = True,
    new_key: Annotated[
        str, typer.Option(help="Make a key with these scopes instead, such as read+write.")
    ] = "",
    search: Annotated[
        bool, typer.Option("--search/--no-search", help="Load what searches and ranks, or not.")
    ] = True,
    redis: RedisUrl = "",
    settings_file: SettingsFile = None,
    verbose: Verbose = 0,
    as_json: AsJson = False,
) -> None:
    """Serve recommendations over HTTP, until Ctrl-C.

    Lists are read from Redis, events go to Kafka; each is connected to when it
    is there, and waited for where it is not. /docs says what can be asked, and
    /console shows what the engine does.

    With --embedded no Kafka is needed: the engine runs in this process, on the
    state that `rillet replay LOG --state DIR` has left, or on none. An event that
    is not handled yet is lost where the process dies.

    On this machine nobody needs a key. To be reached from others, make one for
    each program that asks, and set serve.keys: only its SHA-256 is kept.

    [bold]Scopes of a key[/bold]

      read      lists, search, sessions, metrics

      write     publishing events

      admin     having users forgotten

    [bold]Examples[/bold]

      rillet serve --open-docs

      rillet serve --embedded build/demo/redis --resume-clock --open

      curl localhost:8080/recommend -d '{"user": "alice", "top_n": 5}'

      curl localhost:8080/feedback -d '{"event": "search", "user": "alice", "query": "rug"}'

      rillet serve --new-key read+write

      RILLET_SERVE__KEYS=read+write:SHA256 rillet serve --host 0.0.0.0
    """
    if new_key:
        return _new_key(new_key, as_json)
    from consumers.wiring import configure_logs
    from rillet.serving.app import create_app
    from rillet.serving.guard import check_binding
    from rillet.serving.ranker import Ranker
    from rillet.serving.reader import impatient
    from rillet.serving.server import serve as run

    given: dict[str, Any] = {"host": host} if host else {}
    if port is not None:
        given["port"] = port
    if embedded is not None and redis:
        raise SettingsError("--embedded and --redis both name a Redis", "give one of them")
    settings = opened(settings_file, f"embedded:{embedded}" if embedded else redis, serve=given)
    configure_logs(verbose)

    def ready(url: str) -> None:
        _tell(url, settings, as_json)
        for page in ("/docs",) * open_docs + ("/console/",) * (open_console and console):
            _open(f"{url}{page}")

    check_binding(settings.serve)
    with (
        _engine(settings, wanted=embedded is not None, resume_clock=resume_clock) as engine,
        closing(impatient(settings)) as store,
    ):
        if engine is None and settings.redis.url.get_secret_value().startswith("embedded:"):
            settings = opened(settings_file, store.url, serve=given)  # one server for all
        encoder = engine.encoder if engine else None
        ranker = Ranker(settings, store, encoder=encoder) if search else None
        app = create_app(settings, ranker=ranker, engine=engine)
        if console:
            from rillet.console.mount import mount_console

            mount_console(app)
        run(app, settings.serve, ready)
    return None


@contextmanager
def _engine(settings: Settings, *, wanted: bool, resume_clock: bool) -> Iterator[Embedded | None]:
    """Lend an engine that runs in this process, with its Redis."""
    if not wanted:
        yield None
        return
    from consumers.embedded import Embedded

    engine = Embedded(settings, resume_clock=resume_clock)
    try:
        yield engine
    finally:
        engine.close()


def _open(url: str) -> None:
    """Open a page in a browser with windows; one in this terminal would hide what is said here."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return
    if type(browser) is not webbrowser.GenericBrowser:
        browser.open(url)


def _tell(url: str, settings: Settings, as_json: bool) -> None:
    """Say where it serves, and to whom."""
    if as_json:
        typer.echo(json.dumps({"url": url}))
        return
    keys = len(settings.serve.keys)
    holders = "to who has the key" if keys == 1 else f"to who has one of {keys} keys"
    who = holders if keys else "to everybody on this machine"
    typer.echo(f"serving {who}: {url}; {url}/docs says how; Ctrl-C ends it", err=True)


def _new_key(scopes: str, as_json: bool) -> None:
    """Print a key this once, and what to set for it."""
    from rillet.serving.guard import new_key

    key, line = new_key([one.strip() for one in scopes.replace(",", "+").split("+")])
    if as_json:
        typer.echo(json.dumps({"key": key, "setting": line}))
        return
    typer.echo(key)
    where = f'set RILLET_SERVE__KEYS={line}, or add "{line}" to serve.keys of the settings file'
    typer.echo(f"to let it in, {where}; the key itself is kept nowhere", err=True)
