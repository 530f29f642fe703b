"""Where what takes long is done: at once, or in a thread beside the hot path."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

__all__ = ["Beside", "at_once", "in_a_thread"]

T = TypeVar("T")

Beside = Callable[[Callable[[], T]], "Future[T]"]
"""Begins a piece of work; what comes out is there now or later."""


def at_once(work: Callable[[], T]) -> Future[T]:
    """Do it now: what follows does not depend on how fast the machine is."""
    done: Future[T] = Future()
    done.set_result(work())
    return done


def in_a_thread(work: Callable[[], T]) -> Future[T]:
    """Do it in a thread, which no process waits for when it ends.

    It does not stand back: what asks meanwhile may cost more until it is done.
    """
    coming: Future[T] = Future()

    def go() -> None:
        try:
            coming.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            coming.set_exception(error)

    threading.Thread(target=go, name="beside", daemon=True).start()
    return coming
