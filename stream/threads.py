"""How many threads the libraries beneath numpy and torch start."""

from __future__ import annotations

import os
from typing import Final

__all__ = ["one_thread_each"]

THREADS: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")


def one_thread_each() -> None:
    """Let matrix products of this process, and of those it starts, use one thread each.

    Ours are small: a second thread costs more than it gives, and several processes'
    threads stand in each other's way. To be called before numpy is imported; what
    the environment says already stays.
    """
    for name in THREADS:
        os.environ.setdefault(name, "1")
