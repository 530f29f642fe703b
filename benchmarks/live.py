"""The consumers as they run live: ``rillet up`` over a place of a benchmark's own."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from benchmarks.place import Place
from consumers.wiring import CONSUMERS, group_of
from stream.errors import RilletError
from stream.metrics import Pulse
from stream.settings import Settings
from stream.topics import group_lag

__all__ = ["Up", "pulse_of", "pulses", "ready", "running", "until", "variables"]

READY_S: Final = 300.0
"""How long the consumers may take to start, and to load the catalogue."""


@dataclass(frozen=True, slots=True)
class Up:
    """A running ``rillet up``."""

    process: subprocess.Popen[bytes]
    log: Path

    def said(self) -> str:
        """Return what it has logged so far."""
        return self.log.read_text("utf-8", "replace")

    def ended(self) -> str:
        """Return its last words if it has ended, else ""."""
        return "" if self.process.poll() is None else self.said()


@contextlib.contextmanager
def running(place: Place, **more: str) -> Iterator[Up]:
    """Run ``rillet up`` with further variables; it ends with the block."""
    with tempfile.TemporaryDirectory(prefix="rillet-bench-") as folder:
        said = Path(folder, "up.log")
        command = [sys.executable, "-m", "rillet.cli.main", "up"]
        environment = variables(place.settings) | more
        with said.open("wb") as log:
            process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )
        try:
            yield Up(process, said)
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def variables(settings: Settings) -> dict[str, str]:
    """Return the variables that give the consumers these settings."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}
    names = ("bootstrap", "events", "catalogue", "transitions", "deadletters", "group")
    kafka = {f"RILLET_KAFKA__{n.upper()}": str(getattr(settings.kafka, n)) for n in names}
    url = settings.redis.url.get_secret_value()
    ours = {"RILLET_REDIS__URL": url, "RILLET_REDIS__PREFIX": settings.redis.prefix}
    ours["RILLET_TRAINING__REGISTRY"] = settings.training.registry
    return clean | kafka | ours | {"PYTHONPATH": str(Path(__file__).resolve().parents[1])}


def pulses(place: Place) -> set[str]:
    """Return the names of all processes that report themselves."""
    return {name for name, _ in place.store.scan("process")}


def ready(place: Place, items: int, before: Set[str] = frozenset()) -> bool:
    """Whether all consumers report themselves and the catalogue is worked off.

    Those that did ``before`` do not count.
    """
    names = {name.split(":", 1)[0] for name in pulses(place) - before}
    if names != set(CONSUMERS) or sum(1 for _ in place.store.scan("item")) < items:
        return False
    kafka = place.settings.kafka
    group = group_of("catalogue", place.settings)
    return not any(one.lag for one in group_lag(kafka, group, [kafka.catalogue]))


def until(what: Callable[[], bool], ended: Callable[[], str]) -> None:
    """Wait until something is so.

    Raises
    ------
    RilletError
        The consumers have ended, or it took too long.
    """
    deadline = time.monotonic() + READY_S
    while not what():
        if last := ended():
            raise RilletError(f"`rillet up` has ended: {last[-2000:]}")
        if time.monotonic() > deadline:
            raise RilletError(f"the consumers were not ready after {READY_S:.0f} s")
        time.sleep(0.5)


def pulse_of(place: Place, name: str) -> Pulse:
    """Return what a consumer says of itself.

    Raises
    ------
    RilletError
        None of that name runs.
    """
    for _, raw in place.store.scan("process"):
        pulse = msgspec.json.decode(raw, type=Pulse)
        if pulse.name == name:
            return pulse
    raise RilletError(f"no consumer {name} says that it runs", "its log says why")
