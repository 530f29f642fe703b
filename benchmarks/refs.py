"""The command ``python -m benchmarks.refs``: what a change does to the engine's cost.

The engine of a commit and that of the working tree replay the same log side by side, round by
round in turns, each in a process of its own, without Kafka and with an embedded Redis. What
disturbs the machine disturbs both, so that the ratios of the rounds say more than two runs of
`make bench` do.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, Self

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.entry import enter
from benchmarks.environment import describe
from benchmarks.shop import Logs
from benchmarks.workload import Sizes, cut
from stream.errors import RilletError, SettingsError

__all__ = ["Judged", "app", "judge", "main", "measure"]

Say = Callable[[str], None]

ROOT: Final = Path(__file__).resolve().parents[1]
WORSE: Final = 1
FLOOR: Final = 0.03
"""Share by which two processes of the same code may differ, as by where their memory lies."""

SURE: Final = 3.0
"""Standard errors of the median ratio that count as noise."""

SHOWN: Final = 0.02
"""Share of the whole above which a step is shown."""

SIZES: Final = Sizes(users=2000, items=3000, days=14.0, warm=10_000, rounds=9, events=2000)


class Judged(NamedTuple):
    """Medians of a figure, the median of the rounds' ratios, and how far that may stray."""

    base: float
    head: float
    ratio: float
    noise: float
    verdict: str


def judge(base: Sequence[float], head: Sequence[float], floor: float = FLOOR) -> Judged:
    """Judge a figure of which less is better by its values in the same rounds.

    Examples
    --------
    >>> judge([100, 200, 100, 100, 110], [101, 204, 99, 100, 111]).verdict
    'same'
    >>> judge([100, 200, 100, 100, 110], [110, 221, 109, 110, 121]).verdict
    'worse'
    >>> judge([100, 200, 100, 100, 110], [90, 290, 140, 110, 80]).verdict
    'same'
    """
    ratios = [its / mine if mine else 1.0 for mine, its in zip(base, head, strict=True)]
    ratio = statistics.median(ratios)
    spread = 1.4826 * statistics.median(abs(one - ratio) for one in ratios)  # as a deviation
    noise = max(floor, SURE * 1.2533 * spread / len(ratios) ** 0.5)  # of a median
    verdict = "worse" if ratio > 1 + noise else "better" if ratio < 1 - noise else "same"
    return Judged(statistics.median(base), statistics.median(head), ratio, noise, verdict)


class _Side:
    """A process that replays rounds with the engine in one tree."""

    def __init__(self, name: str, tree: Path, harness: Path, logs: Path, filler: int) -> None:
        self.name, self._said = name, logs / f"{name}.log"
        path = os.pathsep.join(map(str, (harness, tree)))
        with self._said.open("wb") as said:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.turn", str(logs), str(filler)],
                cwd=harness,
                env={**_clean(), "PYTHONPATH": path, "PYTHONHASHSEED": "0"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        self._tree = tree

    def __enter__(self) -> Self:
        try:
            engine = Path(self._answer()["engine"])
            if not engine.is_relative_to(self._tree):
                raise RilletError(f"{self.name} runs {engine}, not what lies in {self._tree}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def round(self, number: int) -> dict[str, Any]:
        """Replay a round; return what it took."""
        assert self._process.stdin is not None
        print(number, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise RilletError(f"{self.name} ended: {self._said.read_text('utf-8')[-2000:]}")
        found: dict[str, Any] = json.loads(line)
        return found

    def __exit__(self, *_: object) -> None:
        with self._process as process:  # closes both pipes
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}


def measure(base: str, sizes: Sizes, filler: int, say: Say) -> dict[str, Any]:
    """Let a commit's engine and the working tree's take turns.

    Parameters
    ----------
    base
        A commit.
    sizes
        The shop; a round before the first is not measured.
    filler
        Items beside those of the shop.
    say
        Told what is going on.

    Returns
    -------
    dict
        ``cpu_us_per_event``, ``rss_mib`` and, by name, ``steps``, each as in :class:`Judged`.
    """
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rillet-bench-")))
        tree = stack.enter_context(_tree(base, home / "base"))
        harness, logs = home / "harness", home / "logs"
        shutil.copytree(ROOT / "benchmarks", harness / "benchmarks")
        logs.mkdir()
        Logs.of(cut(replace(sizes, rounds=sizes.rounds + 1)), logs)
        sides = []
        for name, place in (("base", tree), ("head", ROOT)):
            say(f"{name}: warm-up")
            sides.append(stack.enter_context(_Side(name, place, harness, logs, filler)))
        runs: dict[str, list[dict[str, Any]]] = {"base": [], "head": []}
        for number in range(sizes.rounds + 1):
            say(f"round {number}" if number else "a round that does not count")
            for side in sides if number % 2 else reversed(sides):
                runs[side.name].append(side.round(number))
    return _judged(runs["base"][1:], runs["head"][1:])


def _judged(base: list[dict[str, Any]], head: list[dict[str, Any]]) -> dict[str, Any]:
    def of(name: str) -> Judged:
        return judge([run[name] for run in base], [run[name] for run in head])

    def step(name: str) -> Judged:
        mine, its = ([run["steps"].get(name, 0.0) for run in side] for side in (base, head))
        return judge(mine, its)

    cpu = of("cpu_us")
    names = dict.fromkeys(name for run in (*base, *head) for name in run["steps"])
    steps = {name: step(name) for name in names}
    large = {n: one._asdict() for n, one in steps.items() if one.head > SHOWN * cpu.head}
    memory = of("rss_mib")._asdict()
    return {"cpu_us_per_event": cpu._asdict(), "rss_mib": memory, "steps": large}


@contextmanager
def _tree(ref: str, where: Path) -> Iterator[Path]:
    """Lend a checkout of a commit."""
    _git("worktree", "add", "--detach", "--quiet", str(where), ref)
    try:
        yield where
    finally:
        _git("worktree", "remove", "--force", str(where))


def _git(*arguments: str) -> None:
    program = shutil.which("git")
    if program is None:
        raise RilletError("git is not on the path", "install it")
    command = [program, "-C", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    if done.returncode:
        raise SettingsError(f"git {' '.join(arguments)}: {done.stderr.strip()}", "see `git log`")


app = typer.Typer(add_completion=False, rich_markup_mode="rich", pretty_exceptions_enable=False)


@app.command()
def run(  # noqa: PLR0913 - the options are the interface
    base: Annotated[str, typer.Argument(help="The commit to compare with.")],
    *,
    rounds: Annotated[int, typer.Option(min=3, help="Rounds that count.")] = SIZES.rounds,
    events: Annotated[int, typer.Option(min=100, help="Of a round.")] = SIZES.events,
    warm: Annotated[int, typer.Option(min=100, help="Events before them.")] = SIZES.warm,
    users: Annotated[int, typer.Option(min=10, help="Visitors of the shop.")] = SIZES.users,
    items: Annotated[int, typer.Option(min=10, help="Items of the shop.")] = SIZES.items,
    filler: Annotated[int, typer.Option(min=0, help="Further items, which nobody touches.")] = 0,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, another shop.")] = SIZES.seed,
    output: Annotated[Path, typer.Option("--output", "-o", help="The JSON file.")] = Path(
        "build/bench-compare.json"
    ),
) -> None:
    """Compare the engine of the working tree with that of a commit, in turns.

    No server is needed. Exits with 1 if an event takes more processor time, or
    the process more memory, beyond noise: three standard errors of the median
    of the rounds' ratios, and at least 3 %. Steps are told, and not judged.

    [bold]Examples[/bold]

      make bench-compare BASE=main

      python -m benchmarks.refs HEAD~3 --filler 100000
    """
    chosen = replace(
        SIZES, rounds=rounds, events=events, warm=warm, users=users, items=items, seed=seed
    )
    notes = Console(stderr=True, highlight=False)
    judged = measure(base, chosen, filler, lambda text: notes.print(f"[dim]{text}[/]"))
    about = {"base": base, "sizes": chosen.as_dict(), "filler": filler}
    output.parent.mkdir(parents=True, exist_ok=True)
    found = about | {"environment": describe()} | judged
    output.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    _print(judged, Console(highlight=False))
    if "worse" in (judged["cpu_us_per_event"]["verdict"], judged["rss_mib"]["verdict"]):
        raise typer.Exit(WORSE)


def _print(judged: dict[str, Any], out: Console) -> None:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, column in enumerate(("", "base", "head", "ratio", "noise", "")):
        table.add_column(column, justify="right" if 0 < place < 5 else "left", no_wrap=True)
    colours = {"worse": "red", "better": "green", "same": "dim"}
    rows = {"CPU us/event": judged["cpu_us_per_event"], "MiB": judged["rss_mib"]}
    rows |= {f"  {name}": one for name, one in judged["steps"].items()}
    for name, one in rows.items():
        cells = (f"{one['base']:,.1f}", f"{one['head']:,.1f}", f"{one['ratio']:.3f}")
        verdict = f"[{colours[one['verdict']]}]{one['verdict']}[/]"
        table.add_row(name, *cells, f"{one['noise']:.1%}", verdict)
    out.print(table)


def main() -> None:
    """Run the command line."""
    enter(app, "python -m benchmarks.refs")


if __name__ == "__main__":
    main()
