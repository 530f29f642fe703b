"""The command ``train-encoder``: one run of the encoder's job, on the archive or on a log."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from rillet.cli.interrupts import TRAINED, load_libraries, sigterm_interrupts
from rillet.cli.options import AsJson, SettingsFile, opened
from rillet.cli.progress import progress, whole
from rillet.cli.train import alone_on, announce, demand, opened_store, passes
from stream.settings import Settings

if TYPE_CHECKING:
    from consumers.encoder_training import EncoderOutcome
    from stream.store import Store

__all__ = ["train_encoder"]

_Log = Annotated[str, typer.Argument(help="A log, an archive or -; without it archive.url.")]
_Anew = Annotated[bool, typer.Option("--anew", help="Begin with the encoder as it came.")]
_Registry = Annotated[str, typer.Option(help="Another registry than training.registry.")]
_Epochs = Annotated[int, typer.Option(min=0, help="Passes at the most; 0 is the setting.")]
_Pairs = Annotated[int, typer.Option(min=0, help="Pairs of a pass; 0 is the setting.")]
_Seed = Annotated[int, typer.Option(min=-1, help="Of everything drawn; -1 is the setting.")]


def train_encoder(  # noqa: PLR0913 - the options are the interface
    log: _Log = "",
    *,
    anew: _Anew = False,
    registry: _Registry = "",
    epochs: _Epochs = 0,
    pairs: _Pairs = 0,
    seed: _Seed = -1,
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Tune the text encoder to what users take one after another, and promote it if not worse.

    A LoRA adapter learns to bring the texts of what somebody took near the text
    of what he took next. It is examined on the newest tenth, as the source
    `content` alone. If it may be promoted, all items are encoded anew; where a
    Transformer is current, another is trained on the new vectors, and the two
    are promoted together or not at all.

    Without LOG it reads the archive (`archive.url`) and the items in Redis.
    With one it needs no server: the log's items are encoded on the way.
    On one core count on some minutes; `--pairs` bounds them. On the archive
    one process trains at a time, `rillet consume finetune` or this.

    [bold]Examples[/bold]

      rillet train-encoder

      rillet train-encoder events.jsonl.gz --registry try --pairs 2000

      rillet train-encoder events.jsonl.gz --registry try --json | jq .metrics

      rillet models export VERSION my-encoder   (for encoder.model, or another library)
    """
    from consumers.wiring import configure_logs

    sigterm_interrupts()
    configure_logs(-1)
    overrides: dict[str, Any] = {"training": {"registry": registry}} if registry else {}
    given = {"epochs": epochs, "max_pairs": pairs}
    tuning = {name: value for name, value in given.items() if value}
    if seed >= 0:
        tuning["seed"] = seed
    settings = opened(settings_file, "embedded:" if log else "", encoder_tuning=tuning, **overrides)
    with whole(log) as path, opened_store(settings) as store:
        demand(path or settings.archive.url)
        with alone_on(store, log) as still:
            outcome = _run(settings, store, path, anew, still)
        if outcome.verdict.promote and not log:
            announce(settings, store)
    _tell(outcome, as_json)


def _run(
    settings: Settings, store: Store, log: str, anew: bool, still: Callable[[], None]
) -> EncoderOutcome:
    load_libraries([*TRAINED, "consumers.encoder_training"])
    from consumers.encoder_training import EncoderJob
    from consumers.encoders import promoted_encoder
    from consumers.training_input import encode_items, events_of, offsets_of
    from models.registry import Registry

    if log:
        encode_items(settings, store, promoted_encoder(settings).encoder, log)
    registry, source = Registry(settings.training.registry), log or settings.archive.url
    with progress("tuning", settings.encoder_tuning.epochs) as done:
        watch = passes(done, still)
        job = EncoderJob(settings, store, registry, watch, lambda *_: still())
        return job.run(
            lambda: events_of(settings, source),
            anew=anew,
            offsets=partial(offsets_of, source),
            ready=still,
        )


def _tell(outcome: EncoderOutcome, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(outcome).decode())
        return
    from rillet.cli.verdicts import tell_run

    run = "1 pass" if outcome.epochs == 1 else f"{outcome.epochs} passes"
    best = f"the best is number {outcome.best + 1}" if outcome.best >= 0 else "none was of use"
    size = f"{outcome.pairs:,} pairs in all passes, {outcome.items:,} items"
    headline = f"{size}; {run} in {outcome.seconds:.0f} s, {best}"
    heading = "content alone, on the newest events"
    tell_run(headline, heading, outcome.metrics, outcome.version, outcome.verdict)
