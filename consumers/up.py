"""All consumers as child processes of one: started, watched, restarted, ended together."""

from __future__ import annotations

import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from stream.errors import ChildFailedError, SettingsError

__all__ = ["Child", "Tree", "port_of"]

RESTARTS: Final = 5
"""How often in a row a child may die young before it counts as failed for good."""

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 30.0

GROWN_S: Final = 60.0
"""A child that ran this long has recovered: its earlier deaths no longer count."""

GRACE_S: Final = 30.0
"""How long children may take to finish their batch before they are killed."""

WATCH_S: Final = 0.1

LAST_PORT: Final = 65_535

PORTS: Final = ("catalogue", "neighbours", "archive", "finetune")
"""Who has which port from ``metrics.port`` on; `personalize` and its like come after them."""

Say = Callable[[str, str], None]
"""Called with a child's name and one line of its output; from several threads."""


def port_of(name: str, first: int, number: int = 1) -> int:
    """Return the port of a child's metrics, the same however many others there are; 0 is none.

    Parameters
    ----------
    name
        The consumer.
    first
        ``metrics.port``.
    number
        Which of several alike it is, from 1.

    Raises
    ------
    SettingsError
        There is no such port.

    Examples
    --------
    >>> port_of("catalogue", 9464), port_of("personalize", 9464), port_of("personalize", 9464, 2)
    (9464, 9468, 9469)
    """
    if not first:
        return 0
    place = PORTS.index(name) if name in PORTS else len(PORTS) + number - 1
    if (port := first + place) > LAST_PORT:
        message = f"metrics.port: {name} would listen on {port}, beyond {LAST_PORT}"
        raise SettingsError(message, "choose a lower metrics.port")
    return port


@dataclass(slots=True)
class Child:
    """One consumer process.

    Attributes
    ----------
    name
        What its lines are marked with.
    command
        How it is started. It is to end cleanly on SIGTERM, and when its
        standard input ends, so that it does not outlive this process.
    """

    name: str
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    deaths: int = 0
    started_at: float = 0.0
    due_at: float = 0.0
    reader: threading.Thread | None = field(default=None, repr=False)

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self.process is not None and self.process.poll() is None


class Tree:
    """Runs children until told to stop; only ends processes it started itself.

    Parameters
    ----------
    children
        What to run.
    say
        Takes their lines, and what happens to them.
    restarts, first_wait_s
        How often a child that dies is started again, and after how long; the
        wait doubles each time.
    grace_s
        How long children may take to end.
    """

    def __init__(
        self,
        children: Sequence[Child],
        say: Say,
        *,
        restarts: int = RESTARTS,
        first_wait_s: float = FIRST_WAIT_S,
        grace_s: float = GRACE_S,
    ) -> None:
        self.children = list(children)
        self._say = say
        self._restarts, self._first_wait_s, self._grace_s = restarts, first_wait_s, grace_s

    def run(self, stop: threading.Event, kill: threading.Event | None = None) -> None:
        """Run until ``stop`` is set; ``kill`` cuts the children's time to end short.

        Raises
        ------
        ChildFailedError
            One of them failed for good; the others were ended too.
        """
        try:
            while not stop.is_set():
                for child in self.children:
                    self._tend(child)
                stop.wait(WATCH_S)
        finally:
            self._end_all(kill or threading.Event())

    def _tend(self, child: Child) -> None:
        """Start a child that is due, or note that one has died."""
        now = time.monotonic()
        if child.process is None:
            if now >= child.due_at:
                self._start(child)
            return
        status = child.process.poll()
        if status is None:
            return
        if now - child.started_at >= GROWN_S:
            child.deaths = 0
        child.deaths += 1
        self._let_go(child)
        if child.deaths > self._restarts:
            raise ChildFailedError(
                f"{child.name} ended {child.deaths} times in a row, at last {_how(status)}",
                "its last lines above say why; `rillet doctor` checks what it needs",
            )
        wait = min(self._first_wait_s * 2 ** (child.deaths - 1), LONGEST_WAIT_S)
        child.due_at = now + wait
        self._say(child.name, f"ended {_how(status)}; starting it again in {wait:g} s")

    def _start(self, child: Child) -> None:
        # A session of its own: Ctrl-C in a terminal comes here alone and is passed on once.
        child.process = subprocess.Popen(
            child.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        child.started_at = time.monotonic()
        reader = threading.Thread(target=self._pass_on, args=(child.name, child.process))
        reader.start()
        child.reader = reader

    def _pass_on(self, name: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self._say(name, line.decode("utf-8", "replace").rstrip())

    def _let_go(self, child: Child) -> None:
        """Close what connects to an ended child."""
        process, child.process = child.process, None
        if child.reader is not None:
            child.reader.join()
        if process is not None:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()

    def _end_all(self, kill: threading.Event) -> None:
        """Ask all to end, wait, and kill those that do not."""
        for child in self.children:
            if child.process is not None and child.running:
                child.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s
        while any(child.running for child in self.children):
            if time.monotonic() > deadline or kill.is_set():
                break
            time.sleep(WATCH_S / 2)
        for child in self.children:
            if child.process is None:
                continue
            if child.running:
                self._say(child.name, "does not end; killed")
                child.process.kill()
            child.process.wait()
            self._let_go(child)


def _how(status: int) -> str:
    if status >= 0:
        return f"with status {status}"
    try:
        return f"by {signal.Signals(-status).name}"
    except ValueError:
        return f"by signal {-status}"
