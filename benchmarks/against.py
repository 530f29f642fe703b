"""The command ``python -m benchmarks.against``: the engine of two commits, measured in turns."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.filler import bare
from benchmarks.noise import judge
from benchmarks.shop import write_log
from benchmarks.side import MARK
from benchmarks.workload import Sizes, cut
from stream.errors import RilletError, SettingsError

__all__ = ["PARTS", "app", "main", "measure"]

Say = Callable[[str], None]

PARTS: Final = ("engine", "transformer", "import")
ROOT: Final = Path(__file__).resolve().parents[1]
WORSE: Final = 1

USUAL: Final = Sizes(users=2000, items=3000, days=14.0, warm=10_000, rounds=9, events=1000)
QUICK: Final = Sizes(users=300, items=400, days=7.0, warm=1000, rounds=6, events=150)

LEAST: Final = {"cpu_us_per_event": 0.03, "redis_mib": 0.03, "rss_mib": 0.05}
"""Changes that are none, however sure they are."""


@dataclass(frozen=True, slots=True)
class Logs:
    """The logs that both sides replay: a warm-up, and one a round."""

    warm: Path
    rounds: list[Path]


class Side:
    """A process that runs the engine of a checkout.

    Parameters
    ----------
    name
        For messages.
    root
        The checkout.
    logs
        What is replayed first.
    parts
        What is going to be asked for.
    folder
        Where it may write what it has to say.
    """

    def __init__(self, name: str, root: Path, logs: Logs, parts: Sequence[str], folder: Path):
        self.name, self._said = name, folder / f"{name}.log"
        clean = {k: v for k, v in os.environ.items() if not k.startswith("RILLET_")}
        script = str(ROOT / "benchmarks" / "side.py")
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-P", script, str(root), str(logs.warm), *parts],
                cwd=folder,
                env=clean | {"PYTHONPATH": str(root)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )

    def ready(self) -> None:
        """Wait until the warm-up is over."""
        self._answer()

    def run(self, part: str, log: Path) -> dict[str, float]:
        """Return what a part took over a log."""
        assert self._process.stdin is not None  # it is a pipe
        self._process.stdin.write(f"{part} {log}\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, float]:
        assert self._process.stdout is not None  # it is a pipe
        for line in self._process.stdout:
            if line.startswith(MARK):
                found: dict[str, float] = json.loads(line.removeprefix(MARK))
                return found
        said = self._said.read_text("utf-8", "replace")[-1500:]
        raise RilletError(f"the engine of {self.name} failed: {said}", "measure fewer --parts")

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        self._process.terminate()
        self._process.wait()


def measure(base: Path, sizes: Sizes, parts: Sequence[str], say: Say) -> list[dict[str, Any]]:
    """Have the engines of a checkout and of this tree replay the same logs in turns.

    Parameters
    ----------
    base
        The checkout's root.
    sizes
        The shop, how often and how much.
    parts
        Some of :data:`PARTS`.
    say
        Told what is going on.

    Returns
    -------
    list
        A row for each figure: ``part``, ``figure``, medians of ``base`` and ``head``, the median
        of the rounds' ``ratio`` with its bounds ``low`` and ``high``, and the ``verdict``.

    Raises
    ------
    RilletError
        One of the engines could not do it.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rillet-bench-")))
        logs = _logs(replace(sizes, rounds=sizes.rounds + 1), folder)
        sides = []
        for name, root in (("base", base.resolve()), ("head", ROOT)):
            say(f"warm-up of {name}")
            side = Side(name, root, logs, parts, folder)
            stack.callback(side.close)
            side.ready()  # one after the other, so that neither waits for the other
            sides.append(side)
        rounds: list[dict[str, dict[str, dict[str, float]]]] = []
        for number, log in enumerate(logs.rounds):
            say(f"round {number} of {sizes.rounds}" if number else "a round that does not count")
            # What heats up or slows down meanwhile must not always meet the same side.
            turn = sides if number % 2 else sides[::-1]
            rounds.append({part: {one.name: one.run(part, log) for one in turn} for part in parts})
    counted = rounds[1:]  # what is built once, such as an index, is built in the first
    return [row for part in parts for row in _rows(part, [found[part] for found in counted])]


def _logs(sizes: Sizes, folder: Path) -> Logs:
    """Write the logs; items are bare, for encoding texts is not what is compared."""
    workload = cut(sizes)
    items = [bare(item, number) for number, item in enumerate(workload.items)]
    warm = write_log(folder / "warm.jsonl", [*items, *workload.warm])
    rounds = [
        write_log(folder / f"round-{number}.jsonl", events)
        for number, events in enumerate(workload.rounds)
    ]
    return Logs(warm, rounds)


def _rows(part: str, rounds: Sequence[dict[str, dict[str, float]]]) -> Iterator[dict[str, Any]]:
    for figure, least in LEAST.items():
        pairs = [
            (one["base"][figure], one["head"][figure]) for one in rounds if figure in one["head"]
        ]
        if figure != "cpu_us_per_event":  # it grows from round to round: the last one counts
            pairs = pairs[-1:]
        if not pairs or (figure == "rss_mib" and part == "import"):  # one process does all parts
            continue
        found = judge([head / max(base, 1e-9) for base, head in pairs], least)
        yield {
            "part": part,
            "figure": figure,
            "base": round(statistics.median(base for base, _ in pairs), 1),
            "head": round(statistics.median(head for _, head in pairs), 1),
            "ratio": round(found.ratio, 4),
            "low": round(found.low, 4),
            "high": round(found.high, 4),
            "verdict": found.verdict,
        }


@contextmanager
def checkout(ref: str) -> Iterator[Path]:
    """Lend a git worktree of a commit, which is gone afterwards, or the folder that is named.

    Raises
    ------
    SettingsError
        There is no git, no repository here, or no such commit.
    """
    if Path(ref, "consumers").is_dir():
        yield Path(ref)
        return
    git = shutil.which("git")
    if git is None:
        raise SettingsError("there is no git on the path", "install it")
    with tempfile.TemporaryDirectory(prefix="rillet-base-") as folder:
        tree = Path(folder, "base")
        add = [git, "-C", str(ROOT), "worktree", "add", "--detach", str(tree), ref]
        done = subprocess.run(add, capture_output=True, check=False, text=True)
        if done.returncode:
            last = done.stderr.strip().splitlines()[-1:]
            raise SettingsError(f"{ref} cannot be checked out: {' '.join(last)}", "name a commit")
        try:
            yield tree
        finally:
            remove = [git, "-C", str(ROOT), "worktree", "remove", "--force", str(tree)]
            subprocess.run(remove, capture_output=True, check=False)


app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def run(
    base: Annotated[str, typer.Argument(help="A commit, or the folder of a checkout.")],
    *,
    parts: Annotated[str, typer.Option(help=f"By commas: {', '.join(PARTS)}.")] = ",".join(PARTS),
    items: Annotated[int | None, typer.Option(min=240, help="Of the shop.")] = None,
    rounds: Annotated[int | None, typer.Option(min=6, help="Of each part.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: does it all work?")] = False,
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file.")] = Path(
        "build/bench-compare.json"
    ),
) -> None:
    """Measure this tree against another commit; print ratios with what chance leaves open.

    Both engines replay the same simulated shop in turns, without Kafka, each in a process of its
    own with an embedded Redis. CPU time is judged by the rounds' ratios: it got worse where the
    median grew by more than 3 % and its 95 % interval lies above 1. Memory is judged at the end.
    Exits with 1 if something got worse, with 2 if the two cannot be compared.

    [bold]Parts[/bold]

      engine       every event: lists, learning, statistics
      transformer  the same with a Transformer, which each side trains on the warm-up
      import       states alone, as by `rillet replay --state-only`

    [bold]Examples[/bold]

      make bench-compare BASE=main

      python -m benchmarks.against HEAD~3 --parts engine --rounds 15
    """
    named = [part.strip() for part in parts.split(",") if part.strip()]
    if not named or (unknown := sorted(set(named) - set(PARTS))):
        message = f"there is no part {', '.join(unknown)}" if named else "no part is named"
        raise SettingsError(message, f"take {', '.join(PARTS)}")
    usual = QUICK if quick else USUAL
    sizes = replace(usual, items=items or usual.items, rounds=rounds or usual.rounds)
    notes, begun = Console(stderr=True, highlight=False), time.monotonic()

    def say(text: str) -> None:
        notes.print(f"[dim]{time.monotonic() - begun:6.0f} s  {text}[/]")

    environment = describe()
    with checkout(base) as tree:
        rows = measure(tree, sizes, named, say)
    found = {"base": base, "sizes": sizes.as_dict(), "environment": environment, "rows": rows}
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    out = Console(highlight=False)
    _show(rows, base, sizes, out)
    if any(row["verdict"] == "worse" for row in rows):
        raise typer.Exit(WORSE)


def _show(rows: Sequence[dict[str, Any]], base: str, sizes: Sizes, out: Console) -> None:
    shop = f"{sizes.items:,} items, {sizes.users:,} users, seed {sizes.seed}"
    how = f"{sizes.rounds} rounds of {sizes.events:,} events after {sizes.warm:,}"
    out.print(f"[bold]this tree against {escape(base)}[/]\n[dim]{shop}; {how}[/]")
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(("part", "figure", "base", "head", "ratio", "bounds", "")):
        table.add_column(name, justify="right" if 1 < place < 6 else "left", no_wrap=True)
    colours = {"worse": "red", "better": "green", "same": "dim"}
    for row in rows:
        single = row["figure"] != "cpu_us_per_event"
        bounds = "" if single else f"{row['low']:.3f} to {row['high']:.3f}"
        cells = (f"{row['base']:,.1f}", f"{row['head']:,.1f}", f"{row['ratio']:.3f}", bounds)
        verdict = f"[{colours[row['verdict']]}]{row['verdict']}[/]"
        table.add_row(row["part"], row["figure"], *cells, verdict)
    out.print(table)
    worse = sum(row["verdict"] == "worse" for row in rows)
    text = f"[bold red]{worse} of {len(rows)} figures got worse[/]" if worse else ""
    out.print(text or "[bold green]nothing got worse[/]")


def main() -> None:
    """Run the command line."""
    enter(app, "python -m benchmarks.against")


if __name__ == "__main__":
    main()
