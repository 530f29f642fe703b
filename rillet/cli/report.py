"""How the report of ``rillet validate`` looks on a screen."""

from __future__ import annotations

import datetime as dt

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rillet.validate import Problem, Report

__all__ = ["show"]

_COLOURS = {"bad": "red", "warning": "yellow", "note": "cyan"}


def show(report: Report, console: Console | None = None) -> None:
    """Print a report, in colours only on a terminal."""
    out = console or Console(highlight=False, soft_wrap=True)
    out.print(f"[bold]{escape(report.log)}[/]: {report.records:,} records, {_span(report)}")
    out.print(_counts(report))
    if report.bad:
        out.print(_bad(report))
    for problem in report.problems:
        _problem(out, problem)
    refused = sum(problem.count for problem in report.problems if problem.level == "bad")
    warnings = sum(problem.level == "warning" for problem in report.problems)
    if refused:
        out.print(f"[bold red]{refused:,} records cannot be read[/], {warnings} warnings")
    else:
        out.print(f"[bold green]every record can be read[/], {warnings} warnings")


def _span(report: Report) -> str:
    if report.first_ms is None or report.last_ms is None:
        return "no times"
    first, last = _moment(report.first_ms), _moment(report.last_ms)
    length = dt.timedelta(seconds=(report.last_ms - report.first_ms) // 1000)
    return f"{first} to {last} UTC ({length})"


def _moment(ms: int) -> str:
    return dt.datetime.fromtimestamp(ms / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


def _counts(report: Report) -> Table:
    table = Table.grid(padding=(0, 2))
    for name, count in report.kinds.items():
        table.add_row(f"  {escape(name)}", f"{count:>11,}")
        if name == "interaction":
            for kind, times in report.types.items():
                table.add_row(f"    {escape(kind)}", f"{times:>11,}")
    for name, value in report.statistics.items():
        shown = f"{value:>11.1%}" if name.endswith("rate") else f"{value:>11,.10g}"
        table.add_row(f"  {name.replace('_', ' ')}", shown)
    return table


def _bad(report: Report) -> Table:
    table = Table("line", "reason", "field", "what is wrong", title="The first bad records")
    for line, reason, field, message in report.bad:
        table.add_row(str(line), reason, escape(field), escape(message[:200]))
    return table


def _problem(out: Console, problem: Problem) -> None:
    colour = _COLOURS[problem.level]
    count = f"{problem.count:,} " if problem.count > 1 or problem.lines else ""
    head = f"[{colour}]{problem.level}[/] [bold]{problem.code}[/]: {count}"
    out.print(head + escape(problem.message))
    if problem.details:
        shown = [f"{name} ({count:,})" for name, count in list(problem.details.items())[:5]]
        more = " ..." if len(problem.details) > len(shown) else ""
        out.print(f"    most often: {escape(', '.join(shown))}{more}")
    if problem.lines:
        more = " ..." if problem.count > len(problem.lines) else ""
        out.print(f"    lines: {', '.join(map(str, problem.lines))}{more}")
    out.print(f"    effect: {escape(problem.effect)}")
    out.print(f"    mend:   {escape(problem.mend)}")
