"""The next model: what was recorded of the stream, and the model it makes of the last one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch

from features.catalogue import Catalogue
from features.parts.base import Rules
from models.interactions import Recorder
from models.sequence import SequenceConfig, SequenceModel
from models.sources.base import QueryVectors, World
from models.training import TrainConfig, Trained, Watch, train
from models.training_data import Material
from stream.events import Event, Interaction
from stream.settings import Settings

__all__ = ["Tuned", "Tuner", "tuner_of"]


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
    interactions, until_ms
        How many it knew, and the time of the last.
    """

    model: SequenceModel
    trained: Trained
    interactions: int
    until_ms: int


class Tuner:
    """Records the stream and trains the next model from the last one.

    The first run trains on everything, a later one on what is new since and on
    a sample of what was before.

    Parameters
    ----------
    catalogue, queries
        Content vectors of items, and of queries.
    rules
        What the types of interactions mean.
    network, config
        Shape of the network, and how it is trained.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        queries: QueryVectors,
        rules: Rules,
        network: SequenceConfig,
        config: TrainConfig,
    ) -> None:
        self._catalogue, self._queries = catalogue, queries
        self._network, self._config = network, config
        self._recorder = Recorder(catalogue.ensure, rules)
        self._model: SequenceModel | None = None
        self._since_ms = 0
        self._latest = 0

    def __len__(self) -> int:
        return len(self._recorder)

    def add(self, event: Event) -> None:
        """Take note of an event of the stream."""
        self._recorder.add(event)
        if isinstance(event, Interaction):
            self._latest = max(self._latest, int(event.timestamp))

    def begin_with(self, model: SequenceModel, since_ms: int) -> None:
        """Go on from a model that has learned from everything before a time."""
        self._model, self._since_ms = model, since_ms

    def run(self, folder: Path | None = None, watch: Watch | None = None) -> Tuned:
        """Train the next model; the one before stays as it is.

        Parameters
        ----------
        folder
            Where to keep the state of the run, to go on from after a kill.
        watch
            Told of the progress.

        Raises
        ------
        ModelError
            There is nothing to learn from.
        """
        data = self._recorder.columns()
        vectors = torch.from_numpy(self._catalogue.vectors.copy())
        if self._model is None:
            torch.manual_seed(self._config.seed)
            model = SequenceModel(self._network, vectors)
        else:
            model = self._model.over(vectors, torch.arange(len(self._model.contents)))
        asked = self._queries.vectors(data.queries) if data.queries else _NONE
        material = Material(data, asked, self._since_ms)
        trained = train(model, material, self._config, folder=folder, watch=watch)
        self._model, self._since_ms = model, self._latest + 1
        return Tuned(model, trained, len(data), self._latest)


def tuner_of(settings: Settings, world: World) -> Tuner:
    """Return a tuner by the settings."""
    rules = Rules(settings.session, settings.interactions)
    network = SequenceConfig(content_dim=world.catalogue.dim)
    return Tuner(world.catalogue, world.queries, rules, network, TrainConfig())
