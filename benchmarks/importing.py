"""A long history folded into states by ``rillet replay --state-only``, as a command of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from benchmarks.filler import bare
from benchmarks.shop import write_log
from benchmarks.workload import Sizes
from stream.errors import RilletError
from stream.events import Event, Item

__all__ = ["measure"]

PER_USER: Final = 25
"""Events that a user is good for in a fortnight, at the least."""


def measure(sizes: Sizes, events: int) -> dict[str, Any]:
    """Simulate so many events, and import them into a Redis that the command brings along.

    The shop has as many users as that takes; its items are bare, so that no text is encoded.

    Raises
    ------
    RilletError
        The command failed.
    """
    shop = replace(sizes, users=max(100, events // PER_USER), days=14.0)
    with tempfile.TemporaryDirectory(prefix="rillet-bench-") as folder:
        log = write_log(Path(folder, "log.jsonl"), islice(_bared(shop), events))
        report = _imported(log, Path(folder))
    about = {"users_simulated": shop.users, "items": shop.items, "seed": shop.seed}
    return about | report


def _bared(shop: Sizes) -> Iterator[Event]:
    """Yield a shop's log, with its items bare."""
    number = 0
    for event in shop.world().events():
        if isinstance(event, Item):
            yield bare(event, number)
            number += 1
        else:
            yield event


def _imported(log: Path, folder: Path) -> dict[str, Any]:
    out, said = folder / "report.json", folder / "said.log"
    command = [sys.executable, "-m", "rillet.cli.main", "replay", str(log), "--state-only"]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}
    clean["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    with said.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--state", str(folder / "state"), "--json", str(out)],
            cwd=folder,
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.terminate()
            process.wait()
            raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RilletError(f"`rillet replay --state-only` failed: {said.read_text()[-1000:]}")
    report: dict[str, Any] = json.loads(out.read_text("utf-8"))
    names = ("events", "users", "wall_s", "events_per_s", "cpu_us_per_event")
    return {name: report[name] for name in names} | {"peak_rss_mib": round(usage.ru_maxrss / 1024)}
