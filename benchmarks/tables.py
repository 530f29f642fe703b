"""How the figures look on a screen: one table a part, none wider than eighty columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.headline import headline
from benchmarks.quality import rows

__all__ = ["show", "show_headline"]

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
    text = (
        "the same events for all, in turns; medians, and in brackets the extremes. After the "
        f"warm-up about {found['learned']:.0%} of the positives are learned from (100%: the "
        "early phase; 10%: the long run)"
    )
    _head(out, f"throughput: one process each, {rounds} rounds", text)
    table = _table("", "events/s", "CPU us/event", "lists/event")
    names = {
        "floor": "floor",
        "rillet": "Rillet, personalize",
        "rillet_with_transformer": "  with a Transformer",
        "plain": "plain",
    }
    for name, shown in names.items():
        if (its := found.get(name)) is None:
            continue
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
    typical = found.get("typical", {})
    if typical.get("users"):
        out.print(
            f"a user with about 20 events and a list of 50: {typical['bytes']:,.0f} bytes (state "
            f"{typical['session']:,.0f}, list {typical['recs']:,.0f}; {typical['users']:,.0f} such)"
        )
    table = _table("kind of key", "keys", "mean bytes", "p99 bytes", "KiB in all")
    for kind, its in sorted(found["kinds"].items(), key=lambda pair: -pair[1]["bytes"]):
        cells = (its["keys"], its["mean"], its["p99"], its["bytes"] / KIB)
        table.add_row(kind, *(f"{cell:,.0f}" for cell in cells))
    out.print(table)


def _freshness(found: Figures, out: Console) -> None:
    events = sum(row["events"] for row in found["loads"])
    unseen = sum(row["unseen"] for row in found["loads"])
    text = (
        f"{events:,} events, open loop at shares of the {found['capacity_per_s']:,.0f}/s that one "
        f"process can; {unseen} never had an effect, {found['lost']} lost"
    )
    _head(out, "freshness: from an event's scheduled time to its effect in Redis", text)
    table = _table("milliseconds", "p50", "p90", "p99", "p99.9", "max")
    for row in found["loads"]:
        _fresh_row(table, f"{row['load']}%, {row['per_s']:,}/s", row["latency_ms"])
        _fresh_row(table, "  publisher late", row["publisher_late_ms"])
        _fresh_row(table, "  between two looks", row["look_every_ms"])
    floor = found["floor"]
    _fresh_row(table, f"floor, {floor['per_s']:,}/s", floor["latency_ms"])
    out.print(table)
    steps = found["personalize"]
    named = [f"{n} {steps[n]['p50_ms']:.1f}" for n in _TOP if n in steps]
    out.print(f"[dim]p50 of personalize's steps, by its own account (ms): {', '.join(named)}[/]")


def _fresh_row(table: Table, label: str, its: Figures) -> None:
    table.add_row(label, *(f"{value:,.1f}" for value in its.values()))


def _scaling(found: Figures, out: Console) -> None:
    _head(out, "scaling: processor time as the catalogue grows", found["how"])
    first = found["catalogues"][0]["cpu_us_per_event"]
    table = _table("items", "CPU us/event", "x", "events/s", "MiB", "empty")
    for row in found["catalogues"]:
        cpu = _spread(row["cpu_us_per_event"], row["cpu_us_per_event_rounds"])
        grown = f"{row['cpu_us_per_event'] / first:.2f}"
        size = f"{row['items']:,}"
        rest = (row["events_per_s"], row["rss_mib"], row["rss_empty_mib"])
        table.add_row(size, cpu, grown, *(f"{cell:,.0f}" for cell in rest))
    out.print(table)


def _startup(found: Figures, out: Console) -> None:
    _head(out, "startup: from starting personalize to the first list", found["how"])
    table = _table("items", "seconds", "CPU s", "personalize MiB", "private", "another's")
    for row in found["catalogues"]:
        cells = (row["first_list_s"], row["cpu_s"])
        private = row["private_mib"]
        memory = (row["rss_mib"]["personalize"], private["personalize"], private["another"])
        table.add_row(
            f"{row['items']:,}",
            *(f"{cell:.2f}" for cell in cells),
            *(f"{cell:,.0f}" for cell in memory),
        )
    out.print(table)


def _reads(found: Figures, out: Console) -> None:
    text = f"{found['reads']:,} of {found['users']:,} users, {found['mean_bytes']:,.0f} bytes each"
    _head(out, "reads: a GET of a list", text)
    table = _table("", "p50 us", "p99 us", "per second")
    for label, name in (("redis-py", "get_us"), ("  and decoded", "get_and_decode_us")):
        its = found["redis_py"][name]
        table.add_row(label, f"{its['p50']:,.0f}", f"{its['p99']:,.0f}", "")
    programs = found["redis_benchmark"]
    if isinstance(programs, str):
        out.print(f"[dim]{escape(programs)}[/]")
        programs = {}
    for clients, its in programs.items():
        cells = (its["p50_us"], its["p99_us"], its["per_s"])
        label = f"redis-benchmark, {clients} clients"
        table.add_row(label, *(f"{cell:,.0f}" for cell in cells))
    out.print(table)


def _training(found: Figures, out: Console) -> None:
    text = (
        f"{found['interactions']:,} interactions of {found['users']:,} users, "
        f"{found['items']:,} items: {found['sequences_per_s']:,.0f} sequences/s, "
        f"{found['cpu_ms_per_sequence']:.2f} CPU ms each, {found['passes']} passes"
    )
    _head(out, "training: the Transformer on the warm-up", text)


def _encoding(found: Figures, out: Console) -> None:
    text = f"{found['texts']:,} texts, {found['mean_chars']:.0f} characters; {found['version']}"
    _head(out, "encoding: texts to vectors", text)
    table = _table("", "texts/s", "CPU us/text")
    for label, name in (("new", "cold"), ("in Redis", "redis"), ("in memory", "memory")):
        its = found[name]
        table.add_row(label, f"{its['texts_per_s']:,.0f}", f"{its['cpu_us_per_text']:,.1f}")
    out.print(table)


def _import(found: Figures, out: Console) -> None:
    text = (
        f"{found['events']:,} events of {found['users']:,} users: {found['events_per_s']:,}/s, "
        f"{found['cpu_us_per_event']:.1f} CPU us each, {found['peak_rss_mib']:,} MiB at most"
    )
    _head(out, "import: rillet replay --state-only", text)


def _index(found: Figures, out: Console) -> None:
    _head(out, f"index: recall, {found['questions']:,} questions", found["how"])
    table = _table("items", "of", "questions", "recall", "CPU us/query")
    for row in found["catalogues"]:
        size = f"{row['items']:,}"
        for name, its in row["sources"].items():
            micros = f"{its['us']:,.0f}" if "us" in its else ""
            table.add_row(size, name, f"{its['questions']:,}", f"{its['recall']:.4f}", micros)
        for name in ("blend_100", "blend_50", "lists"):
            table.add_row(size, name.replace("_", ", best "), "", f"{row[name]:.4f}", "")
    out.print(table)


def _processes(found: Figures, out: Console) -> None:
    text = f"{found['events']:,} events from nothing, {found['items']:,} items; idling is taken off"
    _head(out, "processes: personalize, several times", text)
    table = _table("processes", "events/s", "of ideal", "CPU us/event", "of ideal", "MiB")
    for row in found["rows"]:
        cells = (f"{row['events_per_s']:,.0f}", f"{row['efficiency_wall']:.0%}")
        cpu = f"{row['cpu_without_idle_us_per_event']:,.0f}"
        more = (cpu, f"{row['efficiency_cpu']:.0%}", f"{row['rss_mib']:,.0f}")
        table.add_row(str(row["processes"]), *cells, *more)
    out.print(table)


def show_headline(found: Figures, out: Console) -> None:
    """Print the headlines in one table, with the sizes and the seed."""
    sizes = ", ".join(f"{name} {value:,}" for name, value in found["sizes"].items())
    _head(out, "headlines" + (" (--quick: they mean nothing)" if found["quick"] else ""), sizes)
    table = _table("", "")
    for name, value in headline(found["parts"]).items():
        several = value if isinstance(value, dict) else {"": value}
        for of, one in several.items():
            table.add_row(f"{name} {of}".rstrip(), _shown(one))
    out.print(table)


def _shown(value: Any) -> str:
    """Return a figure, or several with their names, in a few words."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(one)}" for name, one in value.items())
    return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"


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


def _search(found: Figures, out: Console) -> None:
    text = f"{found['shop']}; {found['searches']:,} searches, of the whole catalogue"
    _head(out, "search: what the visitor wants, by the planted truth", text)
    table = _table("", "NDCG@10", "+-")
    for name, its in found["ndcg@10"].items():
        table.add_row(escape(name), f"{its['mean']:.4f}", f"{its['pm']:.4f}")
    out.print(table)
    cpu = found["cpu_ms"]
    out.print(f"[dim]CPU of a search: p50 {cpu['p50']:.1f} ms, p99 {cpu['p99']:.1f} ms[/]")


def _serve(found: Figures, out: Console) -> None:
    text = (
        f"{found['items']:,} items, {found['rss_mib']:,.0f} MiB; a user's list of 10 with reasons, "
        "100 items ranked for a user, a search for a user; clients ask again when answered"
    )
    _head(out, "serve: the HTTP service, one process", text)
    table = _table("asked, clients", "p50 ms", "p99 ms", "per second", "per CPU second")
    for name, by_clients in found["asked"].items():
        for clients, its in by_clients.items():
            cells = (f"{its['p50_ms']:.2f}", f"{its['p99_ms']:.2f}")
            rates = (f"{its['per_s']:,.0f}", f"{its['per_core_s']:,.0f}")
            table.add_row(f"{name}, {clients}", *cells, *rates)
    out.print(table)


_PARTS: Final[dict[str, Callable[[Figures, Console], None]]] = {
    "throughput": _throughput,
    "memory": _memory,
    "reads": _reads,
    "freshness": _freshness,
    "scaling": _scaling,
    "startup": _startup,
    "training": _training,
    "encoding": _encoding,
    "import": _import,
    "index": _index,
    "processes": _processes,
    "quality": _quality,
    "log": _quality,
    "search": _search,
    "serve": _serve,
}
