"""The command ``python -m benchmarks.fuzz``: random bytes through the decoder, by atheris.

Needs ``pip install 'rillet[fuzz]'``. What is held to is in ``benchmarks.fuzz_target``.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from benchmarks.entry import enter
from benchmarks.fuzz_target import SEEDS
from stream.errors import SettingsError

__all__ = ["fuzz", "main"]

_STAT: Final = re.compile(r"^stat::(\w+):\s+(\d+)", re.MULTILINE)
_GRACE_S: Final = 60
_PROBLEM: Final = 1


def fuzz(
    *,
    seconds: Annotated[int, typer.Option(min=1, help="How long.")] = 600,
    seed: Annotated[int, typer.Option(min=1, help="Of the mutations.")] = 1,
    folder: Annotated[
        Path, typer.Option(help="Where the corpus grows, and where crashes are kept.")
    ] = Path("build/fuzz"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Fuzz the decoder of events, and say how many inputs were tried and what broke.

    The corpus in the folder is used again and grows; a crash ends the run, its
    input is kept as crash-HASH, and the status is 1.

    [bold]Examples[/bold]

      python -m benchmarks.fuzz --seconds 60

      python -m benchmarks.fuzz --json | jq .executions
    """
    if importlib.util.find_spec("atheris") is None:
        raise SettingsError("atheris is not installed", "pip install 'rillet[fuzz]'")
    _sow(folder / "corpus")
    found = _run(folder, seconds, seed)
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo(
            f"{found['executions']:,} inputs in {seconds} s, {found['per_second']:,} a second; "
            f"corpus {found['corpus']}; crashes {len(found['crashes'])}"
        )
        for crash in found["crashes"]:
            typer.echo(f"  {crash}")
    if found["crashes"] or found["status"]:
        raise typer.Exit(_PROBLEM)


def _sow(corpus: Path) -> None:
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (corpus / f"seed{number}").write_bytes(seed)


def _run(folder: Path, seconds: int, seed: int) -> dict[str, Any]:
    options = [f"-max_total_time={seconds}", f"-seed={seed}", "-print_final_stats=1"]
    options += [f"-artifact_prefix={folder}/", "-timeout=10", "-verbosity=1"]
    log = folder / "fuzz.log"
    with log.open("wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.fuzz_target", str(folder / "corpus"), *options],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=seconds + _GRACE_S,
            check=False,
        )
    stats = {name: int(value) for name, value in _STAT.findall(log.read_text(errors="replace"))}
    if not stats:
        raise SettingsError(f"the fuzzer did not run, see {log}")
    crashes = [one for kind in ("crash", "timeout", "oom") for one in folder.glob(f"{kind}-*")]
    return {
        "executions": stats["number_of_executed_units"],
        "per_second": stats["average_exec_per_sec"],
        "seconds": seconds,
        "corpus": len(list((folder / "corpus").iterdir())),
        "crashes": sorted(map(str, crashes)),
        "status": done.returncode,
    }


def main() -> None:
    """Run the command line."""
    app = typer.Typer(add_completion=False, rich_markup_mode="rich")
    app.command()(fuzz)
    enter(app, "python -m benchmarks.fuzz")


if __name__ == "__main__":
    main()
