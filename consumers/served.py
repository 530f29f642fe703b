"""The Transformer that a process serves: loaded beside the hot path, swapped between batches."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from models.engine import Engine
from models.manifest import is_version
from models.registry import Registry
from models.sources.transformer import Transformer
from stream import metrics
from stream.announcement import announced
from stream.errors import FolderError, ModelError
from stream.folder import Folder
from stream.settings import Settings
from stream.store import Store

if TYPE_CHECKING:  # torch is half a gigabyte: it comes with the first model
    from models.loaded import Loaded
    from models.packing import Parcel

__all__ = ["ServedModel"]

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 3.0
"""Seconds between two looks at which model is the current one."""

REGISTRY_EVERY_S: Final = 30.0
"""Seconds between two looks at the registry, where nothing was announced or it failed."""

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
        self._look_at = self._ask_at = 0.0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="load-model")
        self._job: Future[Any] | None = None
        self._then: Callable[[Any], None] = self._want
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
        """Load what is current before the first batch; without one nothing is served.

        Where models are to be expected torch is loaded too: beside the hot path that
        takes seconds, in which batches take twice as long and some ten times.
        """
        if self._expects():
            import models.loaded
            import models.packing  # noqa: F401 - loaded here, used by the first model
        self.look()
        while self._job is not None:
            wait([self._job])
            self.look()

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
        if self._job is None:
            self._look_for_another()
        elif self._job.done():
            job, self._job = self._job, None
            if (found := self._result(job)) is not None:
                self._then(found)

    def _beside(self, work: Callable[[], Any], then: Callable[[Any], None]) -> None:
        """Do what takes long in a thread; what follows from it is done by a later look."""
        self._job, self._then = self._pool.submit(work), then

    def _result(self, done: Future[Any]) -> Any:
        """Return what came out beside; None where it failed: the model before goes on."""
        try:
            return done.result()
        except FolderError as error:
            log.warning("the model registry cannot be read now: %s", error)
            self._wanted, self._look_at = self.version, time.monotonic() + REGISTRY_EVERY_S
        except Exception as error:  # whatever it is, lists do not wait for a model
            metrics.count("models.refused")
            log.error("%s is not served, the model before goes on: %r", self._wanted, error)
        return None

    def _look_for_another(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        if (news := announced(self._store, KIND)) is not None:
            self._want(news.version)
        elif now >= self._ask_at:
            self._ask_at = now + REGISTRY_EVERY_S
            self._beside(self._pointed_at, self._want)

    def _pointed_at(self) -> str:
        try:
            pointer = Registry(self._settings.training.registry).current(KIND)
        except ModelError as error:
            log.warning("%s", error)
            return ""
        return "" if pointer is None else pointer.current.version

    def _want(self, version: str) -> None:
        if version and version != self._wanted:
            self._wanted = version
            self._beside(partial(self._read, version), self._encode)

    def _read(self, version: str) -> Parcel:
        from models.packing import read_from

        return read_from(Registry(self._settings.training.registry), version, self._encoder)

    def _encode(self, parcel: Parcel) -> None:
        from models.loaded import Loaded

        if (source := self._source) is None:
            return
        rows = self._engine.world.catalogue.rows_of(parcel.names)
        vectors, seen = source.place()
        version, serve = parcel.manifest.version, self._settings.transformer.serve

        def encode() -> Loaded:
            return Loaded.of(parcel.over(vectors, rows), version, vectors, seen, serve)

        self._beside(encode, self._swap)

    def _swap(self, loaded: Loaded) -> None:
        self._loaded = loaded
        if (source := self._source) is not None:
            source.swap(loaded)
        metrics.count("models.swapped")
        log.info("serves the model %s from here on", self.version)
