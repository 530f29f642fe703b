"""The command ``replay``: the whole engine over a log, measured on the way."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from rillet.cli.emptied import emptied
from rillet.cli.interrupts import ENCODING, TRAINED, load_libraries, sigterm_interrupts
from rillet.cli.options import RedisUrl, SettingsFile, opened
from rillet.cli.progress import reading, whole
from stream.errors import SettingsError
from stream.settings import Settings

if TYPE_CHECKING:
    from models.evaluation import Evaluation
    from stream.store import Store

__all__ = ["replay"]

PROBLEM: Final = 1

_Log = Annotated[
    str, typer.Argument(help="The log: .jsonl, .jsonl.gz, .jsonl.zst, an archive, or -")
]
_From = Annotated[
    float,
    typer.Option(min=0, max=1, help="Measure only after this share of what users did; 1: nothing."),
]
_JsonFile = Annotated[
    str, typer.Option("--json", metavar="FILE", help="Write the figures as JSON; - prints.")
]
_Plot = Annotated[Path | None, typer.Option(help="Draw the figures to FILE.png.")]
_State = Annotated[
    Path | None, typer.Option(help="Keep the state in this folder, to be read afterwards.")
]
_Fresh = Annotated[
    bool, typer.Option("--fresh", help="Drop older state under the same prefix first.")
]
_Sources = Annotated[str, typer.Option(help="Use only these sources, by commas.")]
_Without = Annotated[str, typer.Option(help="Leave these sources out, by commas.")]
_Limit = Annotated[int, typer.Option(min=0, help="Only the first N events; 0 is all.")]
_Partitions = Annotated[int, typer.Option(min=1, help="Partitions of each topic.")]
_Batch = Annotated[int, typer.Option(min=0, help="Records in a micro-batch; 0 is the setting.")]
_Seed = Annotated[int | None, typer.Option(help="Of the draw of what is learned from.")]
_TrainEvery = Annotated[
    str,
    typer.Option(metavar="N|P%", help="Train the Transformer after N events each, or P % of them."),
]
_Stale = Annotated[
    bool,
    typer.Option("--stale", help="Measure also with users' states as of the last training."),
]
_Share = Annotated[
    float, typer.Option(min=0.001, max=1, help="Measure this share of what was taken, drawn.")
]
_StateOnly = Annotated[
    bool, typer.Option("--state-only", help="Import states alone: no lists, nothing learned.")
]
_ToKafka = Annotated[
    bool, typer.Option("--to-kafka", help="Publish the log instead, like rillet publish.")
]
_Speed = Annotated[
    float, typer.Option(min=0, help="With --to-kafka: times real time; 0 is full speed.")
]


def replay(  # noqa: PLR0913 - the options are the interface
    log: _Log,
    *,
    evaluate_from: _From = 0.0,
    json_file: _JsonFile = "",
    plot: _Plot = None,
    state: _State = None,
    redis: RedisUrl = "",
    fresh: _Fresh = False,
    sources: _Sources = "",
    without: _Without = "",
    limit: _Limit = 0,
    partitions: _Partitions = 1,
    batch: _Batch = 0,
    seed: _Seed = None,
    train_every: _TrainEvery = "",
    stale: _Stale = False,
    evaluate_share: _Share = 1.0,
    state_only: _StateOnly = False,
    to_kafka: _ToKafka = False,
    speed: _Speed = 0.0,
    settings_file: SettingsFile = None,
) -> None:
    """Run the whole engine over an event log, and measure it on the way.

    The same consumers as live, without Kafka. Each prediction is measured
    before anything is learned from it. The same log, settings and seed give
    the same figures and the same bytes in Redis.

    The state goes to a Redis of its own, which ends with the command, unless
    --state or --redis say otherwise or the settings name an embedded one.

    With --state-only a history is folded into an empty Redis before consumers run
    for the first time; what they read from Kafka afterwards must not hold it again.

    [bold]What is measured[/bold]

      rerank   lists that were shown, reordered by each source and by the blend
      next     the whole catalogue ranked for each item a user took;
               strict: knowing only what happened at earlier times
               order: knowing everything earlier in the log
               stale: knowing of the user what was known at the last training (--stale)

    [bold]Examples[/bold]

      rillet replay events.jsonl.gz

      rillet replay events.jsonl.gz --evaluate-from 0.8 --json out.json --plot out.png

      rillet replay events.jsonl.gz --state kept && rillet recommend alice --redis embedded:kept

      rillet replay events.jsonl.gz --without neighbours --limit 50000 --json -

      rillet replay events.jsonl.gz --train-every 10% --stale --evaluate-from 0.5

      rillet replay events.jsonl.gz --state-only --redis redis://localhost:6379/0

      rillet replay events.jsonl.gz --to-kafka --speed 60
    """
    if to_kafka and not state_only:
        from rillet.cli.live import publish

        return publish(log, speed=speed, limit=limit, settings_file=settings_file)
    if stale and not train_every:
        raise SettingsError("--stale without --train-every: nothing is trained", "give both")
    sigterm_interrupts()
    settings = _settings(settings_file, state, redis, batch, seed)
    settings = _chosen(settings, _names(sources), _names(without))
    from consumers.wiring import configure_logs

    configure_logs(-1)
    if state_only:
        idle = {"--plot": plot, "--train-every": train_every, "--evaluate-from": evaluate_from}
        idle |= {"--sources": sources, "--without": without, "--stale": stale, "--batch": batch}
        idle |= {"--seed": seed is not None, "--partitions": partitions > 1}
        idle |= {"--evaluate-share": evaluate_share < 1, "--to-kafka": to_kafka}
        return _import(settings, log, limit, fresh, json_file, idle)
    with whole(log, limit) as path, emptied(settings, fresh) as store:
        how = _How(evaluate_from, evaluate_share, _events(train_every, path), stale, partitions)
        report, evaluation = _run(settings, store, path, how)
        report["log"] = log
        _demand_events(report)
        _tell(report, json_file)
        if plot is not None:
            _draw(evaluation, report, plot)
        if json_file != "-":
            _say_next(settings, store)
    return None


def _import(
    settings: Settings, log: str, limit: int, fresh: bool, json_file: str, idle: dict[str, Any]
) -> None:
    """Import the states of a log, and say how fast."""
    if given := [name for name, value in idle.items() if value]:
        raise SettingsError(
            f"{', '.join(given)} with --state-only: nothing is asked or learned then",
            "give one or the other",
        )
    if settings.redis.url.get_secret_value() == "embedded:":
        raise SettingsError(
            "--state-only without --redis or --state: the states are all there is, and would end "
            "with this command",
            "give one of them",
        )
    load_libraries(ENCODING)
    from consumers.importing import Import
    from features.text import load_encoder
    from rillet.cli.figures import headline
    from stream.clock import SystemClock
    from stream.collector import resting

    # States live on, and are no circles: to look through them was a tenth of the time.
    with resting(), whole(log, limit) as path, emptied(settings, fresh) as store:
        engine = Import(settings, store, load_encoder(settings.encoder), SystemClock())
        with reading("importing", path) as done:
            report = engine.run(path, on_bytes=done).report() | {"log": log}
    _demand_events(report)
    if json_file != "-":
        headline(report)
    _write_json(report, json_file)


def _events(train_every: str, path: str) -> int:
    """Return after how many events of a log the Transformer is trained; 0 where it is not.

    Raises
    ------
    SettingsError
        The text is neither a count nor a share.
    """
    if not train_every:
        return 0
    from stream.log import read_log

    text, share = train_every.removesuffix("%"), train_every.endswith("%")
    try:
        number = float(text) if share else int(text)
    except ValueError:
        number = 0
    if not 0 < number or (share and number > 100):  # noqa: PLR2004
        raise SettingsError(
            f"--train-every {train_every} is neither a number of events nor a share of the log",
            "for example --train-every 10%, or --train-every 50000",
        )
    if not share:
        return int(number)
    return max(1, int(sum(1 for _ in read_log(path)) * number / 100))


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _settings(
    file: Path | None, state: Path | None, redis: str, batch: int, seed: int | None
) -> Settings:
    if state is not None and redis:
        raise SettingsError("--state and --redis both say where the state goes", "give one of them")
    overrides: dict[str, Any] = {}
    if batch:
        overrides["batch"] = {"max_records": batch}
    if seed is not None:
        overrides["blend"] = {"seed": seed}
    settings = opened(file, f"embedded:{state}" if state is not None else redis, **overrides)
    url = settings.redis.url.get_secret_value()
    if not redis and not url.startswith("embedded:"):
        # Never by accident into the Redis that serves real users.
        return opened(file, "embedded:", **overrides)
    return settings


def _chosen(settings: Settings, sources: tuple[str, ...], without: tuple[str, ...]) -> Settings:
    """Return the settings with the wanted sources enabled."""
    if not sources and not without:
        return settings
    from consumers.replay import source_names

    known = source_names(settings.model_copy(update={"sources": type(settings.sources)()}))
    if unknown := sorted({*sources, *without} - set(known)):
        mend = f"the sources are {', '.join(known)}"
        raise SettingsError(f"no source is called {', '.join(unknown)}", mend)
    enabled = tuple(n for n in sources or source_names(settings) if n not in without)
    if not enabled:
        raise SettingsError("no source is left", "leave fewer out")
    chosen = settings.sources.model_copy(update={"enabled": enabled})
    return settings.model_copy(update={"sources": chosen})


@dataclass(frozen=True, slots=True)
class _How:
    """How a log is replayed: see the options of these names."""

    evaluate_from: float
    evaluate_share: float
    train_every: int
    stale: bool
    partitions: int


def _run(
    settings: Settings, store: Store, path: str, how: _How
) -> tuple[dict[str, Any], Evaluation | None]:
    load_libraries([*TRAINED, "consumers.replay"])
    from consumers.replay import Replay, source_names, time_at
    from features.text import load_encoder
    from models.evaluation import Evaluation
    from stream.collector import settle
    from stream.log import read_log

    evaluation = None
    if how.evaluate_from < 1:
        with reading("looking through", path) as done:
            from_ms = time_at(read_log(path, on_bytes=done), how.evaluate_from)
        names, share = source_names(settings), how.evaluate_share
        evaluation = Evaluation(from_ms, names, share, stale=how.stale)
    encoder = load_encoder(settings.encoder)
    engine = Replay(
        settings,
        store,
        encoder,
        partitions=how.partitions,
        evaluation=evaluation,
        train_every=how.train_every,
    )
    settle()
    with reading("replaying", path) as done:
        return engine.run(path, on_bytes=done).report(), evaluation


def _demand_events(report: dict[str, Any]) -> None:
    """End with 1 where a log holds records, and not one of them is an event."""
    if report["events"] and report["bad"] == report["events"]:
        typer.echo(
            f"none of the {report['events']:,} records of {report['log']} is an event", err=True
        )
        typer.echo("`rillet validate` says what is wrong with them", err=True)
        raise typer.Exit(PROBLEM)


def _tell(report: dict[str, Any], json_file: str) -> None:
    if json_file != "-":
        from rillet.cli.figures import show_replay

        show_replay(report)
    _write_json(report, json_file)


def _write_json(report: dict[str, Any], json_file: str) -> None:
    """Write a report where it is wanted; - prints."""
    if json_file == "-":
        typer.echo(json.dumps(report))
    elif json_file:
        target = Path(json_file)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(report, indent=1) + "\n", "utf-8")


def _draw(evaluation: Evaluation | None, report: dict[str, Any], plot: Path) -> None:
    if evaluation is None:
        typer.echo("nothing was measured, so there is nothing to draw", err=True)
        return
    from rillet.cli.charts import draw_replay

    draw_replay(evaluation, report, plot)


def _say_next(settings: Settings, store: Store) -> None:
    """Say how to look at what was kept."""
    url = settings.redis.url.get_secret_value()
    if url == "embedded:":
        return
    from stream.keys import DEFAULT_USER

    users = (user for user, _ in store.scan("recs") if user != DEFAULT_USER)
    user = next(users, None)
    if user is not None:
        where = f" --redis {url}" if url.startswith("embedded:") else ""
        typer.echo(f"next: rillet recommend {user}{where}", err=True)
