"""The Transformer that a process serves: loaded beside the hot path, swapped between batches."""

from __future__ import annotations

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Final

from models.engine import Engine
from models.loaded import Loaded
from models.packing import Parcel, read_from
from models.registry import Registry
from models.sources.transformer import Transformer
from stream import metrics
from stream.announcement import announced
from stream.errors import RilletError
from stream.settings import Settings
from stream.store import Store

__all__ = ["ServedModel"]

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 3.0
"""Seconds between two looks at which model is the current one."""

KIND: Final = "sequence"


class ServedModel:
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

    def __init__(self, settings: Settings, store: Store, engine: Engine, encoder: str) -> None:
        self._settings, self._store, self._engine = settings, store, engine
        self._encoder = encoder
        self._wanted = ""
        self._looked_at = 0.0
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="load-model")
        self._reading: Future[Parcel] | None = None
        self._encoding: Future[Loaded] | None = None
        self._loaded: Loaded | None = None

    @property
    def _source(self) -> Transformer | None:
        """The engine's source; a checkpoint that it restores brings others."""
        return next((s for s in self._engine.sources if isinstance(s, Transformer)), None)

    @property
    def version(self) -> str:
        """The version that is served; "" where there is none."""
        return self._source.version if self._source is not None else ""

    def begin(self) -> None:
        """Load what is current before the first batch; without one nothing is served."""
        self.look()
        if self._reading is not None:
            wait([self._reading])
            self.look()
        if self._encoding is not None:
            wait([self._encoding])
            self.look()

    def look(self) -> None:
        """Go a step towards the current model, without waiting.

        To be called between two batches: what needs the catalogue is done here,
        what takes long beside.
        """
        if (source := self._source) is None:
            return
        if self._loaded is not None and source.version != self._loaded.version:
            source.swap(self._loaded)
        reading, encoding = self._reading, self._encoding
        if encoding is not None and encoding.done():
            self._encoding = None
            self._loaded = encoding.result()
            source.swap(self._loaded)
            metrics.count("models.swapped")
            log.info("serves the model %s from here on", self.version)
        elif reading is not None and reading.done():
            self._reading = None
            self._encode(reading, source)
        elif reading is None and encoding is None:
            self._look_for_another()

    def _look_for_another(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < LOOK_EVERY_S:
            return
        self._looked_at = now
        version = self._current()
        if version and version != self._wanted:
            self._wanted = version
            self._reading = self._aside.submit(self._read, version)

    def _current(self) -> str:
        if (news := announced(self._store, KIND)) is not None:
            return news.version
        try:
            pointer = Registry(self._settings.training.registry).current(KIND)
        except RilletError as error:
            log.warning("the model registry cannot be read: %s", error)
            return ""
        return "" if pointer is None else pointer.current.version

    def _read(self, version: str) -> Parcel:
        registry = Registry(self._settings.training.registry)
        return read_from(registry, version, self._encoder)

    def _encode(self, read: Future[Parcel], source: Transformer) -> None:
        try:
            parcel = read.result()
        except RilletError as error:
            metrics.count("models.refused")
            log.error("%s is not served, the model before goes on: %s", self._wanted, error)
            return
        rows = self._engine.world.catalogue.rows_of(parcel.names)
        vectors, seen = source.place()
        version = self._wanted
        self._encoding = self._aside.submit(
            lambda: Loaded.of(parcel.over(vectors, rows), version, seen)
        )
