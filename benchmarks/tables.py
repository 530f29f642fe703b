"""How the figures look on a screen: one table a part, none wider than eighty columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.quality import rows

__all__ = ["show"]

Figures = dict[str, Any]

KIB: Final = 1024


def show(results: Figures, out: Console) -> None:
    """Print the tables of all parts that were measured."""
    for part, draw in _PARTS.items():
        if part in results:
            draw(results[part], out)


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left", no_wrap=True)
    return table


def _head(out: Console, title: str, text: str = "") -> None:
    out.print(f"\n[bold]{title}[/]")
    if text:
        out.print(f"[dim]{escape(text)}[/]")


def _throughput(found: Figures, out: Console) -> None:
    rounds = len(found["rillet"]["events_per_s_rounds"])
    text = "the same events for all, in turns; medians, and in brackets the extremes"
    _head(out, f"throughput: one process each, {rounds} rounds", text)
    table = _table("", "events/s", "CPU us/event", "lists/event")
    names = {"floor": "floor", "rillet": "Rillet, personalize", "plain": "plain"}
    for name, shown in names.items():
        its = found[name]
        rate = _spread(its["events_per_s"], its["events_per_s_rounds"])
        cpu = _spread(its["cpu_us_per_event"], its["cpu_us_per_event_rounds"])
        table.add_row(shown, rate, cpu, f"{its['lists_per_event']:.3f}")
    table.add_row("  its neighbours", "beside", f"{found['neighbours']['cpu_us_per_event']:,.0f}")
    table.add_row("  Redis for them", "beside", f"{found['redis_cpu_us_per_event']:,.0f}")
    out.print(table)
    _ratios(found, out)
    _steps(found, out)


def _spread(value: float, rounds: list[float]) -> str:
    return f"{value:,.0f} [{min(rounds):,.0f} {max(rounds):,.0f}]".replace("[", r"\[")


def _ratios(found: Figures, out: Console) -> None:
    table = _table("Rillet's ratio to", "CPU", "CPU with neighbours", "events/s")
    for rival in ("floor", "plain"):
        its = found[f"to_{rival}"]
        cells = (its["cpu"], its["cpu_with_neighbours"], its["rate"])
        table.add_row(rival, *(f"{cell:,.3g} x" for cell in cells))
    out.print()
    out.print(table)


def _steps(found: Figures, out: Console) -> None:
    """Print where personalize's time went; inner steps are indented."""
    steps: dict[str, float] = found["steps_wall_us_per_event"]
    total = sum(steps.get(name, 0.0) for name in _TOP) or 1.0
    table = _table("personalize, by step", "wall us/event", "share")
    for outer in sorted(_TOP, key=lambda name: -steps.get(name, 0.0)):
        inner = [name for name in steps if _outer(name) == outer]
        for name in [outer, *inner]:
            label = name if name == outer else f"  {name.removeprefix('checkpoint.')}"
            micros = steps.get(name, 0.0)
            table.add_row(escape(label), f"{micros:,.1f}", f"{micros / total:.1%}")
    out.print()
    out.print(table)


_TOP: Final = ("poll", "handle", "checkpoint")


def _outer(name: str) -> str:
    """Return within which step another one runs, "" for the outermost."""
    if name in _TOP:
        return ""
    return "checkpoint" if name.startswith("checkpoint.") else "handle"


def _memory(found: Figures, out: Console) -> None:
    per = f"{found['bytes_per_user']:,.0f} bytes a user, {found['bytes_per_item']:,.0f} an item"
    text = f"{found['users']:,} users, {found['items']:,} items: {per}"
    _head(out, "memory: what lies in Redis after that", text)
    table = _table("kind of key", "keys", "mean bytes", "p99 bytes", "KiB in all")
    for kind, its in sorted(found["kinds"].items(), key=lambda pair: -pair[1]["bytes"]):
        cells = (its["keys"], its["mean"], its["p99"], its["bytes"] / KIB)
        table.add_row(kind, *(f"{cell:,.0f}" for cell in cells))
    out.print(table)


def _freshness(found: Figures, out: Console) -> None:
    text = (
        f"{found['events']:,} events, open loop at {found['rate']['per_s']}/s: "
        f"{found['readable_per_s']:,.0f}/s became readable, {found['unseen']} never, "
        f"{found['lost']} lost"
    )
    _head(out, "freshness: from an event's scheduled time to its effect in Redis", text)
    table = _table("milliseconds", "p50", "p90", "p99", "p99.9", "max")
    lines = {
        "Rillet, publish to readable": found["latency_ms"],
        "floor, publish to readable": found["floor"]["latency_ms"],
        "  publisher behind schedule": found["publisher_late_ms"],
        "  between two looks at Redis": found["look_every_ms"],
    }
    for label, its in lines.items():
        table.add_row(label, *(f"{value:,.1f}" for value in its.values()))
    out.print(table)
    steps = found["personalize"]
    named = [f"{n} {steps[n]['p50_ms']:.1f}" for n in _TOP if n in steps]
    out.print(f"[dim]p50 of personalize's steps, by its own account (ms): {', '.join(named)}[/]")


def _scaling(found: Figures, out: Console) -> None:
    _head(out, "scaling: processor time as the catalogue grows", found["how"])
    first = found["catalogues"][0]["cpu_us_per_event"]
    table = _table("items", "CPU us/event", "x", "events/s")
    for row in found["catalogues"]:
        cpu = _spread(row["cpu_us_per_event"], row["cpu_us_per_event_rounds"])
        grown = f"{row['cpu_us_per_event'] / first:.2f}"
        table.add_row(f"{row['items']:,}", cpu, grown, f"{row['events_per_s']:,.0f}")
    out.print(table)


def _quality(found: Figures, out: Console) -> None:
    taken = f"{found['blend'].get('n', 0):,.0f} items taken, each ranked among all"
    text = f"{found['log']}: {found['events']:,} events; {taken}"
    _head(out, f"quality: the next item ({found['mode']})", text)
    best = found["best_source"]
    oracle = found["rivals"].get("oracle", {}).get("hr@10", 0.0)
    table = _table("", "HR@10", "NDCG@10", "of the oracle" if oracle else "")
    for name, its in rows(found):
        style = "bold green" if name == "blend" else "cyan" if name == best else ""
        share = f"{its['hr@10'] / oracle:.0%}" if oracle else ""
        table.add_row(
            escape(name), f"{its['hr@10']:.4f}", f"{its['ndcg@10']:.4f}", share, style=style
        )
    out.print(table)
    rerank = found["rerank"]
    if "blend" in rerank:
        named = [f"{n} {rerank[n]['ndcg@10']:.4f}" for n in ("shown", "blend") if n in rerank]
        out.print(f"[dim]shown lists reordered, NDCG@10: {', '.join(named)}[/]")


_PARTS: Final[dict[str, Callable[[Figures, Console], None]]] = {
    "throughput": _throughput,
    "memory": _memory,
    "freshness": _freshness,
    "scaling": _scaling,
    "quality": _quality,
    "log": _quality,
}
