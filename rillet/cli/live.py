"""The commands of a live engine: ``init``, ``publish``, ``consume``, ``up``."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rillet.cli.options import AsJson, SettingsFile, Verbose, opened
from rillet.cli.progress import reading
from stream import faults
from stream.errors import RilletError, SettingsError
from stream.settings import Settings

if TYPE_CHECKING:
    from consumers.up import Child
    from rillet.publish import Published

__all__ = ["consume", "init", "publish", "up"]

INTERRUPTED: Final = 130
"""What shells return for a command that Ctrl-C ended."""

PROBLEM: Final = 1

COLOURS: Final = ("cyan", "green", "magenta", "yellow", "blue")


def init(  # noqa: PLR0913 - the options are the interface
    path: Annotated[Path, typer.Argument(help="The settings file to write.")] = Path("rillet.toml"),
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    show: Annotated[bool, typer.Option("--print", help="Print it instead of writing it.")] = False,
    topics: Annotated[
        bool, typer.Option("--topics", help="Make the Kafka topics instead; writes no file.")
    ] = False,
    acl: Annotated[
        Path | None,
        typer.Option("--acl", help="Write a Redis ACL file instead: a user for each role."),
    ] = None,
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Write a settings file with every setting, its default and what it is for.

    With --topics, create the topics that Kafka lacks; existing ones are left
    as they are. Running it again changes nothing.

    With --acl FILE, write users of least privilege for Redis (`aclfile FILE`),
    with new passwords; they are shown this once, the file has their SHA-256.

    [bold]Examples[/bold]

      rillet init                     then edit rillet.toml

      rillet init --topics            the topics, as rillet.toml names them

      rillet init --acl users.acl     Redis users for readers, consumers, trainer, operator

      rillet init --print | less      all settings
    """
    if topics:
        return _make_topics(opened(settings_file), as_json)
    if acl is not None:
        return _write_acl(acl, opened(settings_file).redis.prefix, force, as_json)
    from rillet.settings_text import settings_toml

    if show:
        typer.echo(settings_toml(), nl=False)
        return None
    if path.exists() and not force:
        raise SettingsError(f"{path} is there already", "--force replaces it; --print only shows")
    try:
        path.write_text(settings_toml(), "utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
    if as_json:
        typer.echo(json.dumps({"settings": str(path)}))
    else:
        typer.echo(f"{path}: all settings, commented out; next: rillet init --topics")
    return None


def _make_topics(settings: Settings, as_json: bool) -> None:
    from stream.topics import ensure_topics

    states = ensure_topics(settings.kafka)
    if as_json:
        typer.echo(json.dumps([state._asdict() for state in states]))
    else:
        width = max(len(state.name) for state in states)
        for state in states:
            note = state.note or "is there"
            typer.echo(f"{state.name:<{width}}  {state.partitions:>3} partitions  {note}")
    if not all(state.partitions for state in states):
        raise typer.Exit(PROBLEM)


def _write_acl(path: Path, prefix: str, force: bool, as_json: bool) -> None:
    from rillet.acl import acl_lines, new_passwords

    if path.exists() and not force:
        raise SettingsError(f"{path} is there already", "--force replaces it, with new passwords")
    passwords = new_passwords()
    text = acl_lines(prefix, passwords)
    try:
        path.touch(mode=0o600)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
    if as_json:
        typer.echo(json.dumps({"acl": str(path), "passwords": passwords}))
        return
    for name, password in passwords.items():
        typer.echo(f"{name:<16} {password}")
    typer.echo(
        f"{path}: keep these passwords, they are nowhere else; then aclfile {path}", err=True
    )


def publish(
    log: Annotated[
        str, typer.Argument(help="The log: .jsonl, .jsonl.gz, .jsonl.zst, an archive, or -")
    ],
    *,
    speed: Annotated[
        float, typer.Option(min=0, help="Times real time; 0 is as fast as Kafka takes it.")
    ] = 0.0,
    limit: Annotated[int, typer.Option(min=0, help="Only the first N events; 0 is all.")] = 0,
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Send an event log to Kafka: items to the catalogue topic, the rest to events.

    Records that are no events are sent as they are, so that the consumers put
    them on the dead-letter topic with a reason. Ctrl-C ends it with everything
    sent so far stored.

    [bold]Examples[/bold]

      rillet publish events.jsonl.gz

      rillet publish events.jsonl.gz --speed 60        (an hour in a minute)

      rillet simulate -o - --users 100 | rillet publish -
    """
    from rillet.publish import publish_log
    from stream.kafka import KafkaSink
    from stream.loop import stop_on_signals

    settings = opened(settings_file)
    sink = KafkaSink(settings.kafka)
    stop = stop_on_signals()
    try:
        with reading("publishing", log) as done:
            found = publish_log(
                log, settings, sink, speed=speed, limit=limit, stop=stop, on_bytes=done
            )
    finally:
        sink.close()
    _tell_published(found, settings, as_json)
    if found.stopped:
        raise typer.Exit(INTERRUPTED)


def _tell_published(found: Published, settings: Settings, as_json: bool) -> None:
    figures = found.as_dict()
    if as_json:
        typer.echo(json.dumps(figures))
        return
    line = f"{found.log}: {found.sent:,} events in {found.wall_s:.1f} s"
    line += f", {figures['events_per_s']:,.0f} a second"
    line += f" ({found.events:,} to {settings.kafka.events},"
    line += f" {found.items:,} to {settings.kafka.catalogue})"
    if found.stopped:
        line += "; stopped before the end"
    typer.echo(line)
    if found.bad:
        where = settings.kafka.deadletters
        typer.echo(f"{found.bad:,} are no events and will end up in {where}", err=True)
    if found.too_long:
        lines = ", ".join(map(str, found.too_long[:10]))
        most = settings.kafka.max_record_bytes
        typer.echo(
            f"{len(found.too_long):,} not sent, over {most:,} bytes: lines {lines}", err=True
        )


def consume(
    name: Annotated[
        str, typer.Argument(help="catalogue, personalize, neighbours, archive or finetune")
    ],
    settings_file: SettingsFile = None,
    verbose: Verbose = 0,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Another port than metrics.port; 0 is that.")
    ] = 0,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", hidden=True, help="End with standard input.")
    ] = False,
) -> None:
    """Run one consumer until it is told to stop.

    Start as many of each as there are partitions; Kafka shares the work out.
    SIGTERM or Ctrl-C end it after the batch at hand, with everything written
    and committed. The first three are needed; `rillet up` runs them together.

      catalogue     items -> cards and content vectors
      personalize   what users do -> their state and their recommendations
      neighbours    what follows what -> statistics of items
      archive       all of it, as published -> Parquet files by day
      finetune      the archive, now and then -> the next Transformer, if it is not worse

    [bold]Examples[/bold]

      rillet consume personalize

      rillet consume catalogue --settings shop.toml -v

      RILLET_KAFKA__BOOTSTRAP=broker:9092 rillet consume neighbours

      RILLET_ARCHIVE__URL=s3://shop/archive rillet consume archive

      rillet consume personalize --metrics-port 9464; curl 127.0.0.1:9464/metrics
    """
    ending = _Ending()
    other: dict[str, Any] = {"metrics": {"port": metrics_port}} if metrics_port else {}
    try:
        _consume(name, opened(settings_file, **other), verbose, until_eof, ending)
    except KeyboardInterrupt:
        return
    except RilletError:
        if ending.running or not ending.asked:
            raise


class _Ending:
    """What SIGTERM and Ctrl-C do: end it where it is; once it runs, after the batch at hand.

    Attributes
    ----------
    stop
        Set at the first of them.
    asked, running
        Whether one came, and whether there is something to finish.
    """

    def __init__(self) -> None:
        self.stop, self.asked, self.running = threading.Event(), False, False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._hear)

    def _hear(self, _number: int, _frame: object) -> None:
        patient, self.asked = self.running and not self.asked, True
        self.stop.set()
        if not patient:  # whoever asks twice does not want to wait
            raise KeyboardInterrupt

    def ready(self) -> None:
        """Finish what is at hand from here on, unless it is to end already."""
        if self.asked:  # where an exception is lost, such as in a finalizer
            raise KeyboardInterrupt
        self.running = True


def _consume(name: str, settings: Settings, verbose: int, until_eof: bool, ending: _Ending) -> None:
    from consumers.wiring import configure_logs, run_consumer

    configure_logs(verbose)
    faults.arm()
    if until_eof:
        threading.Thread(target=_stop_at_eof, args=(ending.stop,), daemon=True).start()
    run_consumer(name, settings, ending.stop, ending.ready)


def _stop_at_eof(stop: threading.Event) -> None:
    """Stop when whoever holds the other end of standard input is gone."""
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stop.set()


def up(
    *,
    personalize: Annotated[
        int, typer.Option(min=1, help="How many personalize processes; one a core is plenty.")
    ] = 1,
    settings_file: SettingsFile = None,
    verbose: Verbose = 0,
) -> None:
    """Run catalogue, neighbours and personalize as child processes of this one.

    And archive and finetune too, where archive.enabled and transformer.enabled say so.

    Where metrics.port is set each has a port of its own: catalogue that one, neighbours the
    next, then archive, finetune, and from the fifth on personalize.

    A child that dies is started again, a few times; one that keeps dying ends
    them all, with status 2. Ctrl-C or SIGTERM end all of them cleanly; a second
    one at once.

    [bold]Examples[/bold]

      rillet init --topics && rillet up

      rillet up --personalize 4 --settings shop.toml

      RILLET_ARCHIVE__ENABLED=true rillet up
    """
    from consumers.up import Tree
    from models.sources.registry import check_names

    settings = opened(settings_file)  # wrong settings are told here, once
    check_names(settings.sources.enabled)
    stop, kill = threading.Event(), threading.Event()

    def end(_number: int, _frame: object) -> None:
        (kill if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    beside = {"archive": settings.archive.enabled, "finetune": settings.transformer.enabled}
    wanted = [name for name, enabled in beside.items() if enabled]
    children = _children(personalize, wanted, settings_file, verbose, metrics=settings.metrics.port)
    Tree(children, _printer([child.name for child in children])).run(stop, kill)


def _children(
    personalize: int,
    beside: list[str],
    settings_file: Path | None,
    verbose: int,
    *,
    metrics: int = 0,
) -> list[Child]:
    """Return the child processes; ``metrics`` is the first port of their metrics, 0 for none."""
    from consumers.up import Child, port_of

    names = ["catalogue", "neighbours"]
    several = [f"personalize {number}" for number in range(1, personalize + 1)]
    names += several if personalize > 1 else ["personalize"]
    names += beside
    options = ["--until-eof", *["--verbose"] * verbose]
    if settings_file is not None:
        options += ["--settings", str(settings_file)]
    enter = [sys.executable, "-m", "rillet.cli.main", "consume"]
    children = []
    for name in names:
        kind, _, number = name.partition(" ")
        port = port_of(kind, metrics, int(number or 1))
        listen = ["--metrics-port", str(port)] if port else []
        children.append(Child(name, [*enter, kind, *options, *listen]))
    return children


def _printer(names: list[str]) -> Callable[[str, str], None]:
    """Return what prints a child's line behind its name, in its colour on a terminal."""
    width, lock = max(map(len, names)), threading.Lock()
    colours = {name: COLOURS[place % len(COLOURS)] for place, name in enumerate(names)}

    def say(name: str, line: str) -> None:
        with lock:
            typer.echo(typer.style(f"{name:<{width}} | ", fg=colours[name]) + line, err=True)

    return say
