"""Work in a process of its own, so that its CPU time is its alone."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol, Self

from consumers.wiring import configure_logs
from stream.errors import RilletError

__all__ = ["CONTEXT", "Closing", "Worker"]

CONTEXT: Final = multiprocessing.get_context("spawn")
"""Children begin afresh: nothing of the parent's connections and threads is theirs."""

ANSWER_S: Final = 600.0
"""After which a child that does not answer counts as stuck."""

END_S: Final = 30.0
"""How long a child may take to finish and close."""

HURRY_S: Final = 5.0
"""The same after an error or Ctrl-C."""


class Closing(Protocol):
    """What a worker holds: any object that can be closed."""

    def close(self) -> None:
        """Let go of everything."""
        ...


class Worker:
    """An object in a child process; its methods are called by name.

    Parameters
    ----------
    name
        Of the process, for messages.
    make
        Makes the object, in the child. It and the arguments must be importable
        there: a class or a function of a module.
    arguments
        What ``make`` is called with.

    Raises
    ------
    RilletError
        From any method: the child failed; the message has its traceback.
    """

    def __init__(self, name: str, make: Callable[..., Closing], *arguments: Any) -> None:
        self.name = name
        self._pipe, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(
            target=_serve, args=(theirs, make, arguments), name=name, daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """The child's process id."""
        assert self._process.pid is not None  # it was started
        return self._process.pid

    def __enter__(self) -> Self:
        try:
            self.result()  # it is made
        except BaseException:
            self.close()
            raise
        return self

    def call(self, method: str, *arguments: Any) -> Any:
        """Call a method and return what it returns."""
        self.begin(method, *arguments)
        return self.result()

    def begin(self, method: str, *arguments: Any) -> None:
        """Call a method without waiting for it; :meth:`result` does that."""
        self._pipe.send((method, arguments))

    def result(self) -> Any:
        """Wait for what the last call returns."""
        if not self._pipe.poll(ANSWER_S):
            raise RilletError(f"{self.name} did not answer within {ANSWER_S:.0f} s")
        try:
            value, trouble = self._pipe.recv()
        except EOFError as error:
            self._process.join(END_S)
            status = self._process.exitcode
            raise RilletError(f"{self.name} ended with status {status}") from error
        if trouble:
            raise RilletError(f"{self.name} failed: {trouble}")
        return value

    def close(self, patience_s: float = END_S) -> None:
        """End the child: it closes its object, or is killed where it does not."""
        self._pipe.close()
        self._process.join(patience_s)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    def __exit__(self, kind: object, *_: object) -> None:
        self.close(END_S if kind is None else HURRY_S)


def _serve(pipe: Connection, make: Callable[..., Closing], arguments: tuple[Any, ...]) -> None:
    """Make the object and do what is asked, until the other end of the pipe is closed."""
    # Ctrl-C reaches the parent as well, which then closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logs(-1)
    held: Closing | None = None
    try:
        held = make(*arguments)
        pipe.send((None, ""))
        while True:
            method, its_arguments = pipe.recv()
            pipe.send((getattr(held, method)(*its_arguments), ""))
    except (EOFError, BrokenPipeError):
        return
    except Exception:  # whatever the object raises: the parent raises it with this traceback
        pipe.send((None, traceback.format_exc()))
    finally:
        if held is not None:
            held.close()
