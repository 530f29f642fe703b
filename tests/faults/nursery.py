"""Consumers as real processes that start at once: forked from one that has imported everything.

``python -m tests.faults.nursery`` imports what the consumers need, and then forks a child for
each line on its standard input; the child is ``rillet``, with the arguments and the environment
of that line. When its input ends, it kills what still runs.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

__all__ = ["Child", "Nursery"]

PRELOADED: Final = (
    "consumers.archive",
    "consumers.wiring",
    "features.onnx_export",
    "rillet.cli.live",
    "rillet.cli.main",
    "onnxruntime",
    "tokenizers",
)
ROOT: Final = Path(__file__).resolve().parents[2]


class Child:
    """A consumer that was started."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self.pid, self._nursery = pid, nursery
        self.stopped = False
        self.code: int | None = None

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal; None while it lives."""
        if self.code is None:
            self.code = self._nursery.ask(poll=self.pid)["code"]
        return self.code

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it lives."""
        if self.poll() is None:  # not awaited by anybody else: the id is still its own
            os.kill(self.pid, number)
            if number in (signal.SIGSTOP, signal.SIGCONT):
                self.stopped = number == signal.SIGSTOP

    def asleep(self) -> bool:
        """Tell whether it stands still by a signal, whoever sent it."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except FileNotFoundError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def hears(self, number: signal.Signals) -> bool:
        """Tell whether it has a handler for a signal."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text()
        except FileNotFoundError:
            return False
        caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


class Nursery:
    """The process that forks; it ends with :meth:`close`."""

    def __init__(self) -> None:
        variables = {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            start_new_session=True,  # a signal to the harness is not one to its processes
            env={**os.environ, **variables},
        )

    def start(self, arguments: list[str], variables: dict[str, str], log: Path) -> Child:
        """Start ``rillet`` with these arguments and this environment; its output goes to a file."""
        asked = self.ask(start=arguments, variables=variables, log=str(log))
        return Child(self, asked["pid"])

    def ask(self, **question: Any) -> dict[str, Any]:
        """Pass on a line, and return the answer."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(question).encode() + b"\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def close(self) -> None:
        """Kill what still runs, and end."""
        self._process.communicate()


def _serve() -> None:
    for name in PRELOADED:
        importlib.import_module(name)

    gc.freeze()
    codes: dict[int, int | None] = {}
    for line in sys.stdin.buffer:
        question = json.loads(line)
        if "start" in question:
            pid = _fork(question)
            codes[pid] = None
            answer: dict[str, Any] = {"pid": pid}
        else:
            answer = {"code": _poll(question["poll"], codes)}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
    for pid, code in codes.items():
        if code is None and _poll(pid, codes) is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _poll(pid: int, codes: dict[int, int | None]) -> int | None:
    if codes[pid] is None:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            codes[pid] = os.waitstatus_to_exitcode(status)
    return codes[pid]


def _fork(question: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        output = os.open(question["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        empty = os.open(os.devnull, os.O_RDONLY)
        for number, file in enumerate((empty, output, output)):
            os.dup2(file, number)
        os.environ.clear()
        os.environ.update(question["variables"])
        sys.argv = ["rillet", *question["start"]]
        code = _rillet()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _rillet() -> int:
    import traceback

    from rillet.cli.main import main

    try:
        main()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # as Python does at its end
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    _serve()
