"""The next model: what was recorded of the stream, and the model it makes of the last one."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import torch

from features.catalogue import Catalogue
from models.examine import Exam
from models.interactions import Interactions, Recorder, recorder_for
from models.sequence import SequenceConfig, SequenceModel, Task
from models.sources.base import QueryVectors
from models.training import TrainConfig, Trained, Watch, train
from models.training_data import Material, split
from models.training_state import peek
from stream.errors import SettingsError
from stream.events import Event
from stream.settings import Settings
from stream.transformer_settings import TransformerSettings

__all__ = ["Tuned", "Tuner", "config_of", "network_of", "tuner_for"]


log = logging.getLogger(__name__)

_NONE: Final = np.zeros((0, 1), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Tuned:
    """A model that came out of a run.

    Attributes
    ----------
    model
        Over the catalogue as it was then.
    trained
        How the run went.
    exam
        Questions about the end of the window, which it was not trained on.
    interactions, users
        How many it knew, and of how many users.
    since_ms, until_ms
        Where the window began that it was trained on, and the time of the last interaction.
    """

    model: SequenceModel
    trained: Trained
    exam: Exam
    interactions: int
    users: int
    since_ms: int
    until_ms: int


class Tuner:
    """Records the stream and trains the next model from the last one.

    The first run trains on everything, a later one on what is new since and on
    a sample of what was before.

    Parameters
    ----------
    catalogue, queries
        Content vectors of items, and of queries.
    recorder
        Notes the interactions; its rows are the catalogue's.
    network, config
        Shape of the network, and how it is trained.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        queries: QueryVectors,
        recorder: Recorder,
        network: SequenceConfig,
        config: TrainConfig,
    ) -> None:
        self._catalogue, self._queries = catalogue, queries
        self.network, self._config = network, config
        self._recorder = recorder
        self._model: SequenceModel | None = None
        self._since_ms, self._parent = 0, ""

    def __len__(self) -> int:
        return len(self._recorder)

    def add(self, event: Event) -> None:
        """Take note of an event of the stream."""
        self._recorder.add(event)

    def columns(self) -> Interactions:
        """Return what was recorded."""
        return self._recorder.columns()

    def begin_with(self, model: SequenceModel, since_ms: int, version: str = "") -> None:
        """Go on from a model, of that name, that has learned from everything before a time."""
        self._model, self._since_ms, self._parent = model, since_ms, version

    def run(
        self,
        folder: Path | None = None,
        watch: Watch | None = None,
        logs: Path | None = None,
        encoder: str = "",
    ) -> Tuned:
        """Train the next model; the one before stays as it is.

        Parameters
        ----------
        folder
            Where to keep the state of the run, to go on from after a kill.
        watch
            Told of the progress.
        logs
            Where TensorBoard logs go.
        encoder
            Whose vectors the catalogue has, by its version: a run over another one's is not
            gone on with.

        Raises
        ------
        ModelError
            There is nothing to learn from.
        """
        data = self._recorder.columns()
        begun = peek(folder) if folder is not None else None
        about = {"since_ms": self._since_ms, "parent": self._parent, "encoder": encoder}
        if begun is not None and about.items() <= begun["mark"].items():
            # What has come since the run was begun waits for the next one.
            data = data.until(begun["mark"]["until_ms"])
            self._catalogue.rows_of(begun["items"])  # also those that are gone since
        vectors = np.asarray(self._catalogue.vectors)
        if self._model is None:
            torch.manual_seed(self._config.seed)
            model = SequenceModel(self.network, torch.from_numpy(vectors))
        else:
            model = self._model.over(vectors)
        asked = self._queries.vectors(data.queries) if data.queries else _NONE
        names, parent = self._catalogue.ids, self._parent
        material = Material(data, asked, self._since_ms, names, parent, encoder)
        config = self._fitting(model)
        trained = train(model, material, config, folder=folder, watch=watch, logs=logs)
        _, held = split(material, self._config.holdout, 0.0, self._config.seed)
        exam = Exam(material, held, self._catalogue.alive.copy())
        users, since_ms = len(np.unique(data.user)), self._since_ms
        until_ms = material.until_ms
        self.begin_with(model, until_ms + 1)
        return Tuned(model, trained, exam, len(data), users, since_ms, until_ms)

    def _fitting(self, model: SequenceModel) -> TrainConfig:
        """Return how to train, without tasks that the model has no head for."""
        weights = self._config.weights
        known = {task: weight for task, weight in weights.items() if task in model.config.tasks}
        if known != weights:
            names = ", ".join(sorted(weights.keys() - known.keys()))
            log.warning("the model that it starts from has no task %s: train anew to add it", names)
        return replace(self._config, weights=known)


def tuner_for(settings: Settings, catalogue: Catalogue, queries: QueryVectors) -> Tuner:
    """Return a tuner by the settings.

    Raises
    ------
    SettingsError
        ``transformer.heads`` does not divide ``transformer.dim``.
    """
    network, config = network_of(settings.transformer, catalogue.dim), config_of(settings)
    recorder = recorder_for(settings, catalogue.ensure)
    return Tuner(catalogue, queries, recorder, network, config)


def network_of(settings: TransformerSettings, content_dim: int) -> SequenceConfig:
    """Return the network's shape by the settings.

    Raises
    ------
    SettingsError
        The heads do not divide the width.
    """
    if settings.dim % settings.heads:
        raise SettingsError(
            f"transformer.heads: {settings.heads} does not divide transformer.dim, {settings.dim}",
            "take 1, 2 or 4 heads",
        )
    tasks: tuple[Task, ...] = ("next", *_weights(settings))
    return SequenceConfig(
        dim=settings.dim,
        layers=settings.layers,
        heads=settings.heads,
        length=settings.length,
        block=settings.block,
        dropout=settings.dropout,
        content_dim=content_dim,
        tasks=tasks,
    )


def config_of(settings: Settings) -> TrainConfig:
    """Return how to train by the settings."""
    given = settings.transformer
    shared = {name: getattr(given, name) for name in TrainConfig.__slots__ if hasattr(given, name)}
    return TrainConfig(**shared, weights=_weights(given))


def _weights(settings: TransformerSettings) -> dict[Task, float]:
    """Return the tasks beside the next item that count."""
    weights: dict[Task, float] = {"purchase": settings.purchase, "value": settings.value}
    return {task: weight for task, weight in weights.items() if weight}
