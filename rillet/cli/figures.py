"""How the figures of ``rillet replay`` look on a screen."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = ["best_source", "headline", "show_replay"]

BLEND: Final = "blend"
MODES: Final = (("strict", "order"), ("stale",))
"""Those whose figures stand in one table: more would not fit on a terminal."""
NEXT: Final = ("hr@10", "ndcg@10", "mrr", "coverage")
SHORT: Final = {"coverage": "COV."}
NOT_SOURCES: Final = (BLEND, "shown")


def best_source(figures: dict[str, dict[str, float]], metric: str) -> str:
    """Return the single source with the highest figure, "" where there is none.

    Examples
    --------
    >>> best_source({"blend": {"mrr": 0.9}, "a": {"mrr": 0.1}, "b": {"mrr": 0.2}}, "mrr")
    'b'
    """
    alone = {n: f[metric] for n, f in figures.items() if n not in NOT_SOURCES and metric in f}
    return max(alone, key=lambda name: alone[name]) if alone else ""


def show_replay(report: dict[str, Any], console: Console | None = None) -> None:
    """Print the tables of a replay, in colours only on a terminal."""
    out = console or Console(highlight=False)
    headline(report, out)
    if report.get("rerank"):
        _section(out, *_rerank(report["rerank"]))
    if any(report.get("next", {}).values()):
        for modes in MODES:
            if any(mode in report["next"] for mode in modes):
                _section(out, *_next(report["next"], modes))
        _section(out, *_by_history(report["by_history"]))
    _section(out, "CPU microseconds an event, by step", _cost(report))


def _section(out: Console, title: str, table: Table) -> None:
    out.print(f"\n[bold]{title}[/]", soft_wrap=True)
    out.print(table)


def headline(report: dict[str, Any], console: Console | None = None) -> None:
    """Print how many events a log had, and what each took."""
    out = console or Console(highlight=False)
    bad = f", [yellow]{report['bad']:,} bad[/]" if report["bad"] else ""
    rate = report["events"] / max(report["wall_s"], 1e-9)
    out.print(
        f"[bold]{escape(str(report['log']))}[/]: {report['events']:,} events{bad} in "
        f"{report['wall_s']:.1f} s, {rate:,.0f} a second, "
        f"{report['cpu_us_per_event']:,.0f} CPU microseconds each",
        soft_wrap=True,
    )


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))


def _cell(figures: dict[str, float], metric: str, best: str, name: str) -> str:
    text = f"{figures[metric]:.4f}" if metric in figures else ""
    if name == BLEND:
        return f"[bold green]{text}[/]"
    return f"[cyan]{text}[/]" if name == best else text


def _rerank(found: dict[str, dict[str, float]]) -> tuple[str, Table]:
    lists = next(iter(found.values())).get("n", 0)
    table = _table()
    table.add_column("")
    metrics = ("ndcg@10", "mrr")
    for metric in metrics:
        table.add_column(metric.upper(), justify="right")
    best = {metric: best_source(found, metric) for metric in metrics}
    for name, figures in found.items():
        cells = [_cell(figures, metric, best[metric], name) for metric in metrics]
        table.add_row(escape(name), *cells)
    what = f"rerank: {lists:,.0f} shown lists that got a positive"
    return f"{what} (who says nothing: as shown)", table


def _next(
    found: dict[str, dict[str, dict[str, float]]], modes: tuple[str, ...]
) -> tuple[str, Table]:
    counts = {mode: found[mode][BLEND]["n"] for mode in modes if BLEND in found.get(mode, {})}
    shown = ", ".join(f"{count:,.0f} {mode}" for mode, count in counts.items())
    table = _table()
    table.add_column("", no_wrap=True)
    for mode in counts:
        for metric in NEXT:
            heading = SHORT.get(metric, metric.upper())
            table.add_column(f"{mode}\n{heading}", justify="right")
    best = {(m, metric): best_source(found[m], metric) for m in counts for metric in NEXT}
    for name in found[next(iter(counts))]:
        cells = [
            _cell(found[mode].get(name, {}), metric, best[mode, metric], name)
            for mode in counts
            for metric in NEXT
        ]
        table.add_row(escape(name), *cells)
    return f"next: the whole catalogue ranked for each item taken ({shown})", table


def _by_history(found: dict[str, dict[str, dict[str, dict[str, float]]]]) -> tuple[str, Table]:
    """HR@10 by length of the history: the blend beside the best source of that bucket."""
    table = _table()
    for column in ("", "history", "n", BLEND, "best source", ""):
        table.add_column(column, justify="left" if column in ("", "best source") else "right")
    for mode, sources in found.items():
        for bucket, figures in sources.get(BLEND, {}).items():
            alone = {name: its[bucket] for name, its in sources.items() if bucket in its}
            best = best_source(alone, "hr@10")
            other = alone[best]["hr@10"] if best else 0.0
            mark = "green" if figures["hr@10"] >= other else "red"
            blend = f"[{mark}]{figures['hr@10']:.4f}[/]"
            table.add_row(mode, bucket, f"{figures['n']:,.0f}", blend, best, f"{other:.4f}")
    return "next: HR@10 by how many interactions the user had behind him", table


def _cost(report: dict[str, Any]) -> Table:
    table = _table()
    table.show_header = False
    steps = sorted(report.get("steps_us_per_event", {}).items(), key=lambda one: -one[1])
    for name, micros in steps:
        if micros >= 1:
            table.add_row(escape(name), f"{micros:>9,.1f}")
    return table
