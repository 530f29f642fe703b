"""The figures on a screen, none wider than eighty columns."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.table import Table

__all__ = ["show"]

Figures = dict[str, Any]

WHAT: Final = {
    "sound": "sound",
    "touched": "a bit changed before",
    "unusable": "of another shape",
    "cut": "cut after promotion",
}


def show(found: Figures, out: Console) -> None:
    """Print what happened to the events, then to the lists, then to the memory."""
    its, account, rate = found["before_ms"], found["account"], found["load"]["rate"]
    out.print(f"\n[bold]swap: {found['events']:,} events at {rate}/s[/]")
    out.print(
        f"{account['published']:,} events of {account['users']:,} users published in all: "
        f"{account['lost']} lost, {account['doubled']} doubled;\n"
        f"{account['lists_behind']} lists behind their user's state, "
        f"{found['unseen']} effects never seen"
    )
    for one in found["verified"]:
        line = f"{one['keys']:,} compared with a replay, {one['wrong']:,} differ"
        out.print(f"[dim]{one['kind']}: {line}[/]")
    table = _table("milliseconds", "p50", "p99", "max")
    rows = {
        "from an event to its list": found["latency_ms"],
        "  before the first offer": its,
        "publisher behind schedule": found["publisher_late_ms"],
        "between two looks": found["look_every_ms"],
    }
    for label, row in rows.items():
        table.add_row(label, *(f"{value:,.1f}" for value in row.values()))
    out.print(table)
    _offers(found, out)


def _offers(found: Figures, out: Console) -> None:
    out.print(
        "\n[dim]in the 10 s after each offer; list: the first one made with it;\n"
        "memory is personalize's[/]"
    )
    table = _table("offered", "at s", "list", "p50 ms", "p99", "max", "MiB", "peak", "end")
    for offer in found["offers"]:
        after, latency, memory = (
            offer["first_list_after_s"],
            offer["latency_ms"],
            offer["memory_mib"],
        )
        first = f"{after:.1f} s" if after is not None else "never"
        cells = [f"{offer['begun_s']:.1f}", first]
        cells += [f"{latency[name]:,.0f}" for name in ("p50", "p99", "max")]
        cells += [f"{memory[name]:,.0f}" for name in ("before", "peak", "after")]
        table.add_row(WHAT[offer["what"]], *cells)
    out.print(table)
    counted = found["personalize"]
    out.print(
        f"[dim]personalize counted {counted['models.swapped']} swaps and "
        f"{counted['models.refused']} refusals[/]"
    )


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    return table
