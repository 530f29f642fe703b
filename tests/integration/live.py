"""Rillet's commands as processes of their own, pointed at one test's topics and keys."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

__all__ = ["ALL", "Rillet", "Running", "Start", "eventually", "verify", "worked_off"]

WITHIN_S = 150.0
ENTER = (sys.executable, "-m", "rillet.cli.main")

ALL = ("catalogue", "neighbours", "personalize")

Rillet = Callable[..., subprocess.CompletedProcess[str]]
"""Runs a command to its end."""


class Running:
    """A command that goes on until it is told to stop."""

    def __init__(self, arguments: tuple[str, ...], variables: dict[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [*ENTER, *arguments], env=variables, stdout=file, stderr=file
            )

    def said(self) -> str:
        return self.log.read_text()

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)


Start = Callable[..., Running]
"""Starts a command; whatever still runs ends with the test."""


def eventually(what: Callable[[], Any], why: Callable[[], str]) -> Any:
    """Wait until ``what`` returns something true, and return it."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := what()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)
    return found


def worked_off(rillet: Rillet, names: Sequence[str] = ALL) -> bool:
    """Tell whether these consumers run and have nothing left to do."""
    done = rillet("status", "--json")
    if done.returncode:
        return False
    state = json.loads(done.stdout)
    running = {one["name"] for one in state["processes"]}
    return set(names) <= running and not any(state["lag"].get(name, 1) for name in names)


def verify(rillet: Rillet, log: Path, *options: str) -> dict[str, Any]:
    """Return by kind what ``rillet verify`` finds."""
    done = rillet("verify", str(log), "--json", *options)
    assert done.stdout, done.stderr
    return {one["kind"]: one for one in json.loads(done.stdout)}
