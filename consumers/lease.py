"""The lease of training: one process at a time trains, over all machines that share a Redis."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from stream.errors import BusyError
from stream.store import Store

__all__ = ["LEASE", "LEASE_S", "alone", "held"]

log = logging.getLogger(__name__)

LEASE: Final = "finetune"

LEASE_S: Final = 120.0
"""Life of the lease; it is renewed at every third of it."""


@contextmanager
def held(store: Store, lost: threading.Event) -> Iterator[bool]:
    """Hold the lease for the body; yield whether it was to be had.

    Parameters
    ----------
    store
        The Redis that it lies in.
    lost
        Is cleared, and set where another process has got the lease meanwhile.
    """
    lease = store.lease(LEASE, LEASE_S)
    if not lease.take():
        yield False
        return
    done = threading.Event()
    lost.clear()

    def renew() -> None:
        while not done.wait(LEASE_S / 3):
            if not lease.renew():
                log.warning("another process has begun to train meanwhile")
                lost.set()
                return

    keeper = threading.Thread(target=renew, name="lease", daemon=True)
    keeper.start()
    try:
        yield True
    finally:
        done.set()
        keeper.join()
        lease.give_up()


@contextmanager
def alone(store: Store) -> Iterator[Callable[[], None]]:
    """Hold the lease for the body; yield what raises where it was lost meanwhile.

    Raises
    ------
    BusyError
        Another process has it.
    """
    lost = threading.Event()
    with held(store, lost) as mine:
        if not mine:
            raise BusyError(
                "another process trains",
                "wait until it is done, or end it (`rillet consume finetune` is one);"
                " of one that was killed the lease ends after two minutes",
            )

        def still() -> None:
            if lost.is_set():
                raise BusyError(
                    "another process has begun to train meanwhile", "start again when it is done"
                )

        yield still
