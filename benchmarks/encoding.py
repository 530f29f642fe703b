"""Texts a second through the text encoder: new ones, and those that Redis or the process knows."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from benchmarks.place import embedded
from benchmarks.worker import Worker
from features.card import fold_item, text_of
from features.text import load_encoder
from features.vectors import VectorCache
from stream.events import Item
from stream.settings import Settings
from stream.store import DAY_MS

__all__ = ["measure"]

BATCH: Final = 128
"""Texts of one call."""


def measure(items: Sequence[Item], count: int) -> dict[str, Any]:
    """Encode so many items' texts in a process of its own, and look them up again.

    Returns
    -------
    dict
        ``cold``, ``redis`` and ``memory``: texts a second, and CPU microseconds a text.
    """
    settings = Settings()
    cards = (fold_item(None, item, settings, partition=0, offset=0) for item in items)
    texts = list(dict.fromkeys(text_of(card, settings.encoder.fields) for card in cards))[:count]
    with Worker("encoding", _Texts, texts) as worker:
        found: dict[str, Any] = worker.call("run")
    return found


class _Texts:
    def __init__(self, texts: list[str]) -> None:
        self._texts = texts

    def run(self) -> dict[str, Any]:
        with embedded() as (settings, store):
            encoder = load_encoder(settings.encoder)
            encoder.encode(["a first text takes longer"])
            caches = [VectorCache(store, store.keys, encoder, ttl_ms=DAY_MS) for _ in range(2)]
            cold = self._timed(caches[0].vectors)
            known = self._timed(caches[1].vectors)  # it has read none of them so far
            memory = self._timed(caches[1].vectors)
        mean = sum(map(len, self._texts)) / max(1, len(self._texts))
        about = {"texts": len(self._texts), "mean_chars": round(mean, 1)}
        return about | {"version": encoder.version, "cold": cold, "redis": known, "memory": memory}

    def _timed(self, vectors: Callable[[list[str]], object]) -> dict[str, float]:
        wall, cpu = time.perf_counter(), time.process_time()
        for first in range(0, len(self._texts), BATCH):
            vectors(self._texts[first : first + BATCH])
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        count = max(1, len(self._texts))
        return {
            "texts_per_s": round(count / wall, 1),
            "cpu_us_per_text": round(cpu / count * 1e6, 1),
        }

    def close(self) -> None:
        """Hold nothing: all ends with the run."""
