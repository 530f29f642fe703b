"""The command ``python -m benchmarks.compare``: whether a change made anything worse."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, NamedTuple

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from rillet.cli.main import fail
from stream.errors import LogError, RilletError

__all__ = ["RULES", "Change", "Rule", "app", "compare", "main"]

WORSE: Final = 1
UNUSABLE: Final = 2
NAMING: Final = ("items", "load", "processes")
"""Columns by which a table's rows are known."""


class Rule(NamedTuple):
    """How a figure is judged.

    Attributes
    ----------
    path
        Regular expression for the figure's whole path in the JSON.
    better
        ``lower`` or ``higher``.
    tolerance
        Share of the base by which it may get worse.
    slack
        The same in the figure's own unit; the larger of both counts.
    """

    path: str
    better: str
    tolerance: float
    slack: float = 0.0


RULES: Final = (
    # Ratios within a run feel a busy machine less than times do.
    Rule(r"throughput\.to_(floor|plain)\.cpu(_with_neighbours)?", "lower", 0.15),
    Rule(r"throughput\.to_plain\.rate", "higher", 0.2),
    Rule(
        r"throughput\.(rillet|rillet_with_transformer|neighbours)\.cpu_us_per_event", "lower", 0.2
    ),
    Rule(r"throughput\.rillet\.events_per_s", "higher", 0.25),
    Rule(r"throughput\.redis_cpu_us_per_event", "lower", 0.25, 5.0),
    Rule(r"memory\.bytes_per_(user|item)", "lower", 0.05),
    Rule(r"memory\.typical\.bytes", "lower", 0.05),
    Rule(r"reads\.redis_py\.get_us\.p50", "lower", 0.3, 20.0),
    Rule(r"freshness\.lost", "lower", 0.0),
    Rule(r"freshness\.loads\.\d+\.unseen", "lower", 0.0),
    Rule(r"freshness\.loads\.\d+\.latency_ms\.p50", "lower", 0.3, 5.0),
    Rule(r"freshness\.loads\.\d+\.latency_ms\.p99", "lower", 0.5, 20.0),
    Rule(r"scaling\.catalogues\.\d+\.cpu_us_per_event", "lower", 0.2),
    Rule(r"scaling\.catalogues\.\d+\.rss_mib", "lower", 0.05),
    Rule(r"startup\.catalogues\.\d+\.cpu_s", "lower", 0.2, 0.3),
    Rule(r"training\.cpu_ms_per_sequence", "lower", 0.2),
    Rule(r"encoding\.cold\.cpu_us_per_text", "lower", 0.2),
    Rule(r"import\.cpu_us_per_event", "lower", 0.2),
    Rule(r"processes\.rows\.\d+\.efficiency_cpu", "higher", 0.15),
    Rule(r"(quality|log)\.blend\.(hr@10|ndcg@10)", "higher", 0.02, 0.002),
    Rule(r"(quality|log)\.rerank\.blend\.ndcg@10", "higher", 0.02, 0.002),
    Rule(r"search\.ndcg@10\.\w+\.mean", "higher", 0.02, 0.005),
)
"""What is judged; every other figure is there to be read. A new one is a line here."""


class Change(NamedTuple):
    """A judged figure: ``verdict`` is ``same``, ``better`` or ``worse``."""

    path: str
    base: float
    head: float
    allowed: float
    verdict: str


def compare(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[Change]:
    """Judge every figure that both runs have and a rule speaks of.

    Examples
    --------
    >>> base = {"parts": {"import": {"cpu_us_per_event": 40.0}, "freshness": {"lost": 0}}}
    >>> head = {"parts": {"import": {"cpu_us_per_event": 44.0}, "freshness": {"lost": 1}}}
    >>> [(change.path, change.verdict) for change in compare(base, head)]
    [('import.cpu_us_per_event', 'same'), ('freshness.lost', 'worse')]
    """
    before, after = dict(_figures(base["parts"])), dict(_figures(head["parts"]))
    changes = []
    for path, value in before.items():
        rule = next((rule for rule in RULES if re.fullmatch(rule.path, path)), None)
        if rule is not None and path in after:
            changes.append(_judge(rule, path, value, after[path]))
    return changes


def _judge(rule: Rule, path: str, base: float, head: float) -> Change:
    allowed = max(abs(base) * rule.tolerance, rule.slack)
    loss = head - base if rule.better == "lower" else base - head
    verdict = "worse" if loss > allowed else "better" if loss < -allowed else "same"
    return Change(path, base, head, allowed, verdict)


def _figures(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the path and value of every number."""
    if isinstance(value, bool):
        return
    if isinstance(value, int | float):
        yield path, float(value)
        return
    inner: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, Mapping) else ()
    if isinstance(value, list):
        # Rows of a table are named by their first column, so that a new row moves nothing.
        inner = ((_name(row, place), row) for place, row in enumerate(value))
    for name, one in inner:
        yield from _figures(one, f"{path}.{name}" if path else str(name))


def _name(row: Any, place: int) -> str:
    named = row if isinstance(row, Mapping) else {}
    return str(next((named[name] for name in NAMING if name in named), place))


def differences(base: Mapping[str, Any], head: Mapping[str, Any]) -> list[str]:
    """Return what makes two runs incomparable in sizes, or doubtful in times."""
    found = []
    for name in ("quick", "sizes", "amounts"):
        if base.get(name) != head.get(name):
            found.append(f"{name}: {base.get(name)} and {head.get(name)}")
    mine, theirs = base.get("environment", {}), head.get("environment", {})
    for name in ("cpus", "cpu", "python", "threads"):
        if mine.get(name) != theirs.get(name):
            found.append(f"{name}: {mine.get(name)} and {theirs.get(name)}")
    return found


def _load(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise LogError(f"{path} cannot be read: {error}", "`make bench` writes one") from error
    if not isinstance(found, dict) or found.get("schema") != 2 or "parts" not in found:
        raise LogError(f"{path} holds no results of `python -m benchmarks`")
    return found


app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def run(
    base: Annotated[Path, typer.Argument(help="The JSON from before the change.")],
    head: Annotated[Path, typer.Argument(help="The JSON from after it.")],
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also where sizes or machines differ.")
    ] = False,
) -> None:
    """Judge one run of the benchmarks against another one.

    Each figure has a tolerance of its own, wide for times, narrow for bytes and
    quality, none for lost events. Exits with 1 if something got worse beyond
    it, with 2 if the two cannot be compared.

    [bold]Examples[/bold]

      python -m benchmarks -o base.json     (before)

      python -m benchmarks -o head.json     (after)

      python -m benchmarks.compare base.json head.json
    """
    before, after = _load(base), _load(head)
    odd = differences(before, after)
    if odd and not force:
        mend = "measure both alike on one machine, or --force"
        raise LogError(f"the two runs differ in {'; '.join(odd)}", mend)
    changes = compare(before, after)
    if not changes:
        raise LogError("the two runs have no judged figure in common", "measure the same parts")
    out = Console(highlight=False)
    for line in odd:
        out.print(f"[yellow]they differ[/] in {escape(line)}")
    out.print(_table(changes))
    worse = sum(change.verdict == "worse" for change in changes)
    if worse:
        out.print(f"[bold red]{worse} of {len(changes)} figures got worse[/]")
        raise typer.Exit(WORSE)
    out.print("[bold green]nothing got worse[/]")


def _table(changes: list[Change]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for place, column in enumerate(("figure", "base", "head", "change", "allowed", "")):
        justify: Literal["left", "right"] = "right" if 0 < place < 5 else "left"
        table.add_column(column, justify=justify, no_wrap=place > 0, overflow="fold")
    colours = {"worse": "red", "better": "green", "same": "dim"}
    for path, base, head, allowed, verdict in changes:
        change = f"{(head - base) / abs(base):+.1%}" if base else f"{head - base:+g}"
        limit = f"{allowed / abs(base):.0%}" if base else f"{allowed:g}"
        cells = (escape(path), _number(base), _number(head), change, limit)
        table.add_row(*cells, f"[{colours[verdict]}]{verdict}[/]")
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def main() -> None:
    """Run the command line; the only place where errors become exit codes."""
    try:
        app(prog_name="python -m benchmarks.compare")
    except RilletError as error:
        fail(error)
        sys.exit(UNUSABLE)


if __name__ == "__main__":
    main()
