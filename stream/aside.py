"""Doing something beside the main thread, which alone hears signals.

An interrupt is raised wherever the main thread is. In a library that takes every
exception for one of its own it would be logged, and gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["aside"]

T = TypeVar("T")


def aside(action: Callable[[], T]) -> T:
    """Return what an action returns, or raise what it raises; a signal ends the waiting for it.

    What it is then still at goes on, and ends with the process at the latest.
    """
    found: Future[T] = Future()

    def work() -> None:
        try:
            found.set_result(action())
        except BaseException as error:  # told to who waits
            found.set_exception(error)

    threading.Thread(target=work, daemon=True).start()
    return found.result()
