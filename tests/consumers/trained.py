"""A shop with more users, and Transformers that learn it within a second."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from consumers.encoder_training import EncoderOutcome
from consumers.training import Outcome, TrainingJob
from consumers.training_input import catalogue_of, encode_items
from features.text import Encoder
from features.vectors import query_vectors
from models.registry import Registry
from stream.events import Event
from stream.settings import Settings
from stream.store import Store
from tests.builders import MINUTE, NOON, write_log
from tests.consumers.small_log import a_visit, the_items

__all__ = ["a_job", "ndcg", "small", "stock", "visits"]

USERS = 40


def visits(many: int = 2 * USERS, begin: int = NOON, seed: int = 7) -> list[Event]:
    """Return what forty users do, three interactions a visit, each in one cluster of items."""
    chance, events = random.Random(seed), list[Event]()
    for n in range(many):
        cluster = "kitchen" if n % 2 else "cycling"
        events += a_visit(f"user{n % USERS}", begin + n * 5 * MINUTE, cluster, chance)
    return events


def small(home: Path, **groups: Any) -> dict[str, Any]:
    """Return settings of a network and a run that take a second, with all files below a folder."""
    transformer = {
        **{"dim": 16, "layers": 1, "length": 8, "epochs": 3, "batch": 16, "dropout": 0.0},
        **{"holdout": 0.3, "learning_rate": 0.01, "folder": str(home / "run")},
    } | groups.pop("transformer", {})
    training = {"registry": str(home / "models")} | groups.pop("training", {})
    archive = {"url": str(home / "archive")} | groups.pop("archive", {})
    return {"transformer": transformer, "training": training, "archive": archive} | groups


def stock(
    settings: Settings,
    store: Store,
    encoder: Encoder,
    log: Path,
    items: Sequence[Event] | None = None,
) -> None:
    """Put items into a Redis, as the consumer `catalogue` does."""
    encode_items(settings, store, encoder, write_log(log, the_items() if items is None else items))


def a_job(settings: Settings, store: Store, encoder: Encoder) -> TrainingJob:
    """Return a run of training over what lies in a Redis."""
    queries = query_vectors(settings, store, encoder)
    catalogue = catalogue_of(settings, store, encoder)
    return TrainingJob(settings, catalogue, queries, encoder, Registry(settings.training.registry))


def ndcg(outcome: Outcome | EncoderOutcome, model: str) -> float:
    """Return a model's mean NDCG@10 in a run that asked."""
    value = outcome.metrics[model]["ndcg@10"]
    assert value is not None
    return value
