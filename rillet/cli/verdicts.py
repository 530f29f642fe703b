"""How a run of training is told on a screen: what it was, the marks, what the gate said."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from models.examine import Means
    from models.gate import Verdict

__all__ = ["mark", "tell_run"]


def mark(value: float | None) -> str:
    """Return a mark for people, ``-`` where nothing was asked.

    Examples
    --------
    >>> mark(0.25), mark(None)
    ('0.2500', '-')
    """
    return "-" if value is None else f"{value:.4f}"


def tell_run(headline: str, heading: str, metrics: Means, version: str, verdict: Verdict) -> None:
    """Print what a run was, the marks of the models below a heading, and what became of it."""
    from rich.console import Console
    from rich.table import Table

    out = Console(highlight=False, soft_wrap=True)
    out.print(headline)
    table = Table(box=None, pad_edge=False)
    table.add_column(heading)
    names = list(next(iter(metrics.values())))
    for name in names:
        table.add_column(name, justify="right")
    for model, means in metrics.items():
        table.add_row(model, *(mark(means[name]) for name in names))
    out.print(table)
    word = "[green]promoted[/]" if verdict.promote else "[yellow]refused[/]"
    out.print(f"{version} is {word}: {'; '.join(verdict.reasons)}")
