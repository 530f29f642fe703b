"""What a process follows: the promoted model of a kind, taken over beside the hot path."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, Final

from models.manifest import Kind
from models.registry import Registry
from stream import metrics
from stream.announcement import announced
from stream.errors import FolderError, ModelError
from stream.settings import Settings
from stream.store import Store

__all__ = ["Follower"]

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 3.0
"""Seconds between two looks at which model is the current one."""

REGISTRY_EVERY_S: Final = 30.0
"""Seconds between two looks at the registry, where nothing was announced or it failed."""


class Follower(ABC):
    """Looks now and then which version is the current one, and reads it in a thread.

    Parameters
    ----------
    settings, store
        Where the pointer and the registry are.

    Attributes
    ----------
    kind
        Which models are followed.
    """

    kind: Kind

    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings, self._store = settings, store
        self._wanted = ""
        self._look_at = self._ask_at = 0.0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=f"load-{self.kind}")
        self._stop = threading.Event()
        self._job: Future[Any] | None = None
        self._then: Callable[[Any], None] = self._want
        self._failed: Callable[[Exception], None] = self._refused

    @property
    @abstractmethod
    def version(self) -> str:
        """The version that is served; "" where there is none."""

    @property
    def due(self) -> bool:
        """Whether the next look goes to Redis."""
        return self._job is None and time.monotonic() >= self._look_at

    @property
    def coming(self) -> bool:
        """Whether another version is on its way."""
        return self._job is not None and self._wanted not in ("", self.version)

    def begin(self) -> None:
        """Take over what is current before the first batch."""
        self.look()
        while self._job is not None:
            wait([self._job])
            self.look()

    def look(self) -> None:
        """Go a step towards the current version, without waiting; between two batches."""
        if self._job is None:
            self._look_for_another()
        elif self._job.done():
            job, self._job = self._job, None
            if (found := self._result(job)) is not None:
                self._then(found)

    def close(self) -> None:
        """End what is done beside, at its next step: a process that ends waits for its threads."""
        self._stop.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def hurry(self) -> None:
        """Have the next look go to Redis."""
        self._look_at = 0.0

    def _beside(
        self,
        work: Callable[[], Any],
        then: Callable[[Any], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        """Do what takes long in a thread; what follows from it is done by a later look.

        Parameters
        ----------
        work
            Done in the thread.
        then, failed
            Told of what came out, or of the error; without the latter a version is refused.
        """
        self._job, self._then = self._pool.submit(work), then
        self._failed = failed or self._refused

    def _result(self, done: Future[Any]) -> Any:
        """Return what came out beside; None where it failed: the model before goes on."""
        try:
            return done.result()
        except FolderError as error:
            log.warning("the model registry cannot be read now: %s", error)
            self._wanted, self._look_at = self.version, time.monotonic() + REGISTRY_EVERY_S
        except Exception as error:  # whatever it is, lists do not wait for a model
            self._failed(error)
        return None

    def _refused(self, error: Exception) -> None:
        metrics.count("models.refused")
        log.error("%s is not served, the model before goes on: %r", self._wanted, error)

    def _look_for_another(self) -> None:
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_EVERY_S
        if (news := announced(self._store, self.kind)) is not None:
            self._want(news.version)
        elif now >= self._ask_at:
            self._ask_at = now + REGISTRY_EVERY_S
            self._beside(self._pointed_at, self._want)

    def _pointed_at(self) -> str:
        try:
            pointer = Registry(self._settings.training.registry).current(self.kind)
        except ModelError as error:
            log.warning("%s", error)
            return ""
        return "" if pointer is None else pointer.current.version

    def _want(self, version: str) -> None:
        if version and version != self._wanted:
            self._wanted = version
            self._beside(partial(self._read, version), self._arrived)

    @abstractmethod
    def _read(self, version: str) -> Any:
        """Read a version, in a thread."""

    @abstractmethod
    def _arrived(self, found: Any) -> None:
        """Go on with what was read."""
