"""Whether the servers behind this one answer."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from rillet.serving.models import Ready
from rillet.serving.service import Service
from stream.errors import BrokerError
from stream.settings import KafkaSettings
from stream.topics import describe

__all__ = ["Readiness"]

FRESH_S: Final = 2.0
"""How long an answer of Kafka is good for: asking takes a connection of its own."""

PATIENCE_S: Final = 2.0


class Readiness:
    """Asks Kafka now and then; whether Redis is there the reader knows."""

    def __init__(self, service: Service) -> None:
        self._service = service
        patience = min(PATIENCE_S, service.settings.serve.kafka_s)
        self._kafka = service.settings.kafka.model_copy(update={"timeout_s": patience})
        self._asked_at = -FRESH_S
        self._there = False
        self._asking = asyncio.Lock()

    async def look(self) -> Ready:
        """Return what is there."""
        async with self._asking:
            if self._service.engine is not None:
                self._there = self._service.engine.failed is None
            elif time.monotonic() - self._asked_at >= FRESH_S:
                self._there = await asyncio.to_thread(_has_topics, self._kafka)
                self._asked_at = time.monotonic()
        reader = self._service.reader
        return Ready(redis=reader.away is None, kafka=self._there, search=self._service.can_rank)


def _has_topics(settings: KafkaSettings) -> bool:
    """Tell whether Kafka is there, and has the topics that are published to."""
    try:
        found = {one.name: one.partitions for one in describe(settings).topics}
    except BrokerError:
        return False
    return all(found.get(name) for name in (settings.events, settings.catalogue))
