"""Python's collector of circles, kept from looking through what lives on."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["resting", "settle"]

COLLECTED_AFTER: Final = (50_000, 20, 100)
"""New objects, and younger collections, after which Python looks for circles among its objects.

A batch makes tens of thousands and leaves hardly a circle: to look after each 700 took 6 % of the
time."""


def settle() -> None:
    """Spare what is loaded by now, for it stays, and have the collector look seldom.

    To be called by a process that works for long, once it has loaded what it works with: to look
    through all of it takes a tenth of a second and more, in the middle of a batch.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTED_AFTER)


@contextmanager
def resting() -> Iterator[None]:
    """Keep the collector from looking at all, where very much is made that stays and no circles."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
