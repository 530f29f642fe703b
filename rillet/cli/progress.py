"""Logs as commands read them: with a progress bar on a terminal, and piped ones too."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path

from stream.log import STDIO, LogWriter, log_size, read_log

__all__ = ["progress", "reading", "whole"]


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


@contextmanager
def whole(log: str, limit: int = 0) -> Iterator[str]:
    """Lend a log that can be read twice: the file itself, or a copy of what was piped or cut."""
    if log != STDIO and not limit:
        yield log
        return
    with tempfile.TemporaryDirectory(prefix="rillet-log-") as folder:
        copy = Path(folder, "events.jsonl")
        with LogWriter(copy) as writer:
            for _, raw in islice(read_log(log), limit or None):
                writer.write(raw)
        yield str(copy)
