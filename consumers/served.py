"""The Transformer that a process serves: loaded beside the hot path, swapped between batches."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from consumers.follower import Follower
from models.engine import Engine
from models.manifest import Kind, is_version
from models.registry import Registry
from models.sources.transformer import Transformer
from stream import metrics
from stream.errors import FolderError
from stream.folder import Folder
from stream.settings import Settings
from stream.store import Store

if TYPE_CHECKING:  # torch is half a gigabyte: it comes with the first model
    from models.loaded import Loaded
    from models.packing import Parcel

__all__ = ["ServedModel"]

log = logging.getLogger(__name__)

KIND: Final[Kind] = "sequence"


class ServedModel(Follower):
    """Keeps the engine's Transformer the one that was promoted last.

    Parameters
    ----------
    settings, store
        Where the pointer and the registry are.
    engine
        Whose source it is.
    encoder
        Version of the text encoder.
    """

    kind = KIND

    def __init__(self, settings: Settings, store: Store, engine: Engine, encoder: str) -> None:
        super().__init__(settings, store)
        self._engine, self._encoder = engine, encoder
        self._loaded: Loaded | None = None

    @property
    def _source(self) -> Transformer | None:
        """The engine's source; a checkpoint that it restores brings others."""
        return next((s for s in self._engine.sources if isinstance(s, Transformer)), None)

    @property
    def version(self) -> str:
        """The version that is served; "" where there is none."""
        return self._source.version if self._source is not None else ""

    @property
    def versions(self) -> dict[str, str]:
        """The version by its kind."""
        return {self.kind: self.version}

    def begin(self) -> None:
        """Load what is current before the first batch; without one nothing is served."""
        self.prepare()
        super().begin()

    def prepare(self) -> None:
        """Load torch where models are to be expected.

        Beside the hot path that takes seconds, in which batches take twice as long and some
        ten times.
        """
        if self._expects():
            import models.loaded
            import models.packing  # noqa: F401 - loaded here, used by the first model

    def _expects(self) -> bool:
        """Whether somebody trains, or has trained, so that a first model may come."""
        if self._settings.transformer.enabled:
            return True
        try:
            return any(map(is_version, Folder(self._settings.training.registry).names()))
        except FolderError:  # the look that follows says so
            return False

    def look(self) -> None:
        """Go a step towards the current model, without waiting.

        To be called between two batches: what needs the catalogue is done here,
        what takes long beside.
        """
        if (source := self._source) is None:
            return
        if self._loaded is not None and source.version != self._loaded.version:
            source.swap(self._loaded)
        super().look()

    def follow(self, encoder: str) -> None:
        """Have vectors of another encoder from here on: what was served reads those of the last.

        What is current is looked up at once, for it may be a model of the new one.
        """
        self._encoder, self._loaded = encoder, None
        self._job, self._wanted = None, ""  # whatever is on its way was read for the last one
        if (source := self._source) is not None:
            source.swap(None)
        self.hurry()

    def _read(self, version: str) -> Parcel:
        from models.packing import read_from

        return read_from(Registry(self._settings.training.registry), version, self._encoder)

    def _arrived(self, parcel: Parcel) -> None:
        from models.loaded import Loaded

        if (source := self._source) is None:
            return
        rows = self._engine.world.catalogue.rows_of(parcel.names)
        vectors, seen = source.place()
        version, given = parcel.manifest.version, self._settings.transformer

        def encode() -> Loaded:
            model = parcel.over(vectors, rows)
            return Loaded.of(model, version, seen, given.serve, given.window)

        self._beside(encode, self._swap)

    def _swap(self, loaded: Loaded) -> None:
        self._loaded = loaded
        if (source := self._source) is not None:
            source.swap(loaded)
        metrics.count("models.swapped")
        log.info("serves the model %s from here on", self.version)
