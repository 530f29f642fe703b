from __future__ import annotations

from collections.abc import Iterator

import pytest

from stream.memory import MemoryBroker
from tests.contracts.pipe import PARTITIONS, Pipe, PipeContract


class TestMemory(PipeContract):
    @pytest.fixture
    def pipe(self) -> Iterator[Pipe]:
        broker = MemoryBroker({"events": PARTITIONS})
        pipe = Pipe("events", lambda: broker.source("readers", ["events"]), broker.sink)
        yield pipe
        pipe.close()
