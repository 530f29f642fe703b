"""The command ``train``: one run of the training job, on the archive or on a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from rillet.cli.interrupts import TRAINED, load_libraries, sigterm_interrupts
from rillet.cli.options import AsJson, SettingsFile, opened
from rillet.cli.progress import progress, whole
from stream.errors import LogError
from stream.settings import Settings

if TYPE_CHECKING:
    from consumers.training import Outcome
    from stream.store import Store

__all__ = ["alone_on", "announce", "demand", "opened_store", "passes", "train"]

_Log = Annotated[str, typer.Argument(help="A log, an archive or -; without it archive.url.")]
_Anew = Annotated[bool, typer.Option("--anew", help="Begin without the current model.")]
_Registry = Annotated[str, typer.Option(help="Another registry than training.registry.")]
_Epochs = Annotated[int, typer.Option(min=0, help="Passes at the most; 0 is the setting.")]
_Seed = Annotated[int, typer.Option(min=-1, help="Of everything drawn; -1 is the setting.")]


def train(  # noqa: PLR0913 - the options are the interface
    log: _Log = "",
    *,
    anew: _Anew = False,
    registry: _Registry = "",
    epochs: _Epochs = 0,
    seed: _Seed = -1,
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Train the next Transformer, examine it, and promote it if it is not worse.

    It starts from the current model of the registry, trains on what is new
    since and on a sample of the past, and is examined on the newest tenth,
    which it was not trained on. Consumers that run swap it in without a pause.

    Without LOG it reads the archive (`archive.url`) and the items in Redis.
    With one it needs no server: the log's items are encoded on the way.
    A run that is interrupted goes on from its last whole pass. On the archive
    one process trains at a time, `rillet consume finetune` or this.

    [bold]Examples[/bold]

      rillet train

      rillet train events.jsonl.gz --registry try --epochs 3

      rillet train events.jsonl.gz --json | jq .metrics

      rillet models list
    """
    from consumers.wiring import configure_logs

    sigterm_interrupts()
    configure_logs(-1)
    settings = _settings(settings_file, log, registry, epochs, seed)
    with whole(log) as path, opened_store(settings) as store:
        demand(path or settings.archive.url)
        with alone_on(store, log) as still:
            outcome = _run(settings, store, path, anew, still)
        if outcome is not None and outcome.verdict.promote and not log:
            announce(settings, store)
    if outcome is not None:
        _tell(outcome, as_json)


def _settings(file: Path | None, log: str, registry: str, epochs: int, seed: int) -> Settings:
    overrides: dict[str, Any] = {}
    if registry:
        overrides["training"] = {"registry": registry}
    transformer = {"epochs": epochs} if epochs else {}
    if seed >= 0:
        transformer["seed"] = seed
    if transformer:
        overrides["transformer"] = transformer
    return opened(file, "embedded:" if log else "", **overrides)


def demand(log: str) -> None:
    """Refuse a log that is not there, or has nothing in it, before anything heavy is loaded."""
    from stream.log import read_log

    if next(read_log(log), None) is None:
        raise LogError(f"there is nothing in {log}", "publish events, or `rillet simulate` some")


@contextmanager
def opened_store(settings: Settings) -> Iterator[Store]:
    """Open a store for the body."""
    from stream.store import Store

    store = Store(settings.redis, retry_s=5)
    try:
        yield store
    finally:
        store.close()


def alone_on(store: Store, log: str) -> AbstractContextManager[Callable[[], None]]:
    """Hold the lease of training for the body; nothing of the kind for a run on a log.

    What is yielded raises where the lease was lost. Of processes that train together, as
    torchrun starts them, the first one has it.
    """
    from consumers.lease import alone
    from models.training import is_first

    return nullcontext(lambda: None) if log or not is_first() else alone(store)


def _run(
    settings: Settings, store: Store, log: str, anew: bool, still: Callable[[], None]
) -> Outcome | None:
    load_libraries([*TRAINED, "consumers.training"])
    from consumers.encoders import promoted_encoder
    from consumers.training import TrainingJob
    from consumers.training_input import catalogue_of, encode_items, events_of, offsets_of
    from features.vectors import query_vectors
    from models.registry import Registry

    encoder = promoted_encoder(settings).encoder
    if log:
        encode_items(settings, store, encoder, log)
    queries = query_vectors(settings, store, encoder)
    catalogue = catalogue_of(settings, store, encoder)
    registry = Registry(settings.training.registry)
    job = TrainingJob(settings, catalogue, queries, encoder, registry)
    source = log or settings.archive.url
    with progress("training", settings.transformer.epochs) as done:
        return job.run(
            events_of(settings, source),
            anew=anew,
            folder=Path(settings.transformer.folder),
            watch=passes(done, still),
            offsets=offsets_of(source),
            ready=still,
        )


def announce(settings: Settings, store: Store) -> None:
    """Tell the consumers what is current now."""
    from consumers.announcing import announce_all
    from models.registry import Registry

    announce_all(store, Registry(settings.training.registry))


def passes(
    done: Callable[[float], None], still: Callable[[], None]
) -> Callable[[int, int, float], None]:
    """Return what tells a progress bar of the passes, and parts of one, that are done.

    It asks before whether to go on.
    """
    whole_ones = 0

    def watch(step: int, steps: int, loss: float) -> None:
        nonlocal whole_ones
        still()
        done(whole_ones + step / steps)
        whole_ones += step == steps

    return watch


def _tell(outcome: Outcome, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(outcome).decode())  # a loss that is no number is null
        return
    from rillet.cli.verdicts import tell_run

    count = "1 pass" if outcome.epochs == 1 else f"{outcome.epochs} passes"
    headline = (
        f"{outcome.interactions:,} interactions of {outcome.users:,} users, "
        f"{outcome.items:,} items; {count} in {outcome.seconds:.0f} s, "
        f"the best is number {outcome.best + 1}"
    )
    tell_run(headline, "on the newest events", outcome.metrics, outcome.version, outcome.verdict)
