"""A progress bar on a terminal, and nothing at all where nobody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stream.log import log_size

__all__ = ["progress", "reading"]


@contextmanager
def progress(label: str, total: float | None) -> Iterator[Callable[[float], None]]:
    """Show a bar on standard error while the body runs.

    Parameters
    ----------
    label
        What is being done.
    total
        What "done" is; None where nobody knows.

    Yields
    ------
    Callable[[float], None]
        Call it with how much is done so far; cheap where there is no terminal.
    """
    if not sys.stderr.isatty():
        yield lambda _done: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=total)
        yield lambda done: bar.update(task, completed=done)


@contextmanager
def reading(label: str, path: str | Path) -> Iterator[Callable[[float], None]]:
    """Show a bar for a file that is read; for ``on_bytes`` of :func:`stream.log.read_log`."""
    with progress(label, log_size(path)) as done:
        yield done
