"""The text encoder that a process uses: loaded beside the hot path, swapped between batches.

A consumer that serves lists has the whole catalogue's vectors in memory: they
are read, or encoded, before the swap. One that keeps the catalogue encodes new
texts with the new encoder from then on. A sequence model reads the vectors of
one encoder, so the old one goes at the swap, and what is current is looked up.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final

from consumers.encoders import encoder_at
from consumers.follower import Follower
from consumers.re_encoding import ReEncoded, beside, fill, re_encode, unless
from consumers.served import ServedModel
from consumers.view import LiveView
from features.text import TextEncoder
from models.manifest import Kind
from stream import metrics
from stream.settings import Settings
from stream.store import Store

__all__ = ["FollowedEncoder", "Serving", "ViewedEncoder"]

log = logging.getLogger(__name__)

KIND: Final[Kind] = "encoder"

FILL_AGAIN_S: Final = 30.0
"""Seconds after which texts are encoded that could not be."""


class FollowedEncoder(Follower):
    """Keeps a process' text encoder the one that was promoted last.

    Parameters
    ----------
    settings, store
        Where the pointer and the registry are.
    version
        Of the encoder that the process began with; "" for the settings' own.
    swap
        Called between two batches with the encoder that is to be used from then on.
    """

    kind = KIND

    def __init__(
        self,
        settings: Settings,
        store: Store,
        version: str,
        swap: Callable[[TextEncoder], None],
    ) -> None:
        super().__init__(settings, store)
        self._wanted = self._version = version
        self._swap = swap

    @property
    def version(self) -> str:
        """The version that is used; "" for the settings' own encoder."""
        return self._version

    def _read(self, version: str) -> TextEncoder:
        return encoder_at(self._settings, version)

    def _arrived(self, found: Any) -> None:
        self._version = self._wanted
        self._swap(found)
        metrics.count("encoders.swapped")
        log.info("texts are encoded by %s from here on", self._version)


class ViewedEncoder(FollowedEncoder):
    """The encoder of a process that holds the catalogue's vectors: they are swapped with it.

    Texts that have no vector of it, as those of items that came while others still used
    the encoder before, are encoded in the thread, and taken over by a later look.

    Parameters
    ----------
    settings, store
        Where the pointer and the registry are.
    version
        Of the encoder that the process began with.
    view
        The catalogue.
    swapped
        Told of the new encoder's version after each swap.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        version: str,
        view: LiveView,
        swapped: Callable[[str], None],
    ) -> None:
        super().__init__(settings, store, version, lambda _: None)
        self._view, self._swapped = view, swapped
        self._fill_at = 0.0

    def look(self) -> None:
        """Go a step towards the current encoder, or have texts encoded that nobody encoded."""
        super().look()
        if self._job is None and time.monotonic() >= self._fill_at:
            self._fill(self._view.take_missing())

    def _fill(self, missing: Sequence[str]) -> None:
        if missing:
            store, encoder = beside(self._store, self._stop), self._view.encoder
            work = partial(fill, self._settings, store, encoder, missing, unless(self._stop))
            self._beside(work, self._filled, partial(self._not_filled, missing))

    def _filled(self, found: ReEncoded) -> None:
        self._view.complete(found)
        self._look_for_another()  # between two chunks: a whole catalogue may take hours

    def _not_filled(self, missing: Sequence[str], error: Exception) -> None:
        self._view.put_back(missing)
        self._fill_at = time.monotonic() + FILL_AGAIN_S
        metrics.count("encoders.unfilled")
        words = "the texts of %d items could not be encoded; they are tried again in %.0f s: %r"
        log.warning(words, len(missing), FILL_AGAIN_S, error)

    def _want(self, version: str) -> None:
        if version and version != self._wanted:
            self._view.expect()
        super()._want(version)

    def _read(self, version: str) -> Any:
        encoder = super()._read(version)
        store = beside(self._store, self._stop)
        return re_encode(self._settings, store, encoder, unless(self._stop))

    def _arrived(self, found: Any) -> None:
        assert isinstance(found, ReEncoded)
        self._view.exchange(found)
        super()._arrived(found.encoder)
        self._swapped(found.encoder.version)


class Serving:
    """Encoder and sequence model of a process that serves lists, each the one promoted last.

    Parameters
    ----------
    encoder, model
        The two; the encoder tells the model when it is swapped.
    """

    def __init__(self, encoder: ViewedEncoder, model: ServedModel) -> None:
        self.encoder, self.model = encoder, model

    @property
    def version(self) -> str:
        """Version of the sequence model that is served; "" where there is none."""
        return self.model.version

    @property
    def versions(self) -> dict[str, str]:
        """The version of either, by its kind."""
        return {self.encoder.kind: self.encoder.version} | self.model.versions

    def begin(self) -> None:
        """Load the model that is current, before the first batch.

        An encoder is not waited for: the process began with one, and to encode all items by
        another may take minutes.
        """
        self.model.prepare()
        self.encoder.hurry()
        self.encoder.look()
        if not self.encoder.coming:
            self.model.begin()

    def close(self) -> None:
        """End what is done beside."""
        self.encoder.close()
        self.model.close()

    def look(self) -> None:
        """Go a step towards what is current, without waiting; between two batches."""
        if self.model.due:  # a model is announced after its encoder, so it is looked for after it
            self.encoder.hurry()
        self.encoder.look()
        if not self.encoder.coming:
            self.model.look()
