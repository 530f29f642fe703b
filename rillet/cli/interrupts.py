"""Being told to end, by Ctrl-C or SIGTERM: what it does to a command that works for long."""

from __future__ import annotations

import importlib
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["ENCODING", "TRAINED", "held_back", "load_libraries", "sigterm_interrupts"]

ENCODING: Final = ("onnxruntime", "tokenizers")
TRAINED: Final = (*ENCODING, "torch")
"""Native libraries of what encodes texts, and of what has a Transformer too."""


def sigterm_interrupts() -> None:
    """Let SIGTERM end this process as Ctrl-C does: an embedded Redis must not outlive it."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@contextmanager
def held_back() -> Iterator[None]:
    """Let both wait for the end of the body.

    Raises
    ------
    KeyboardInterrupt
        At the end, where one of them came.
    """
    came: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda got, _: came.append(got)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


def load_libraries(names: Iterable[str]) -> None:
    """Load what is come to sooner or later: native libraries, and modules that load more.

    An interrupt that falls into the start of a native one is lost: it becomes an error of its
    own ("initialization failed"), which is taken for one of the library, and the work goes on.
    One that falls into an `exec`, by which many libraries make their classes, lets Python end
    by the signal after all, and not with the exit code 130 (CPython's `pythonrun.c`).
    """
    with held_back():
        for name in names:
            importlib.import_module(name)
