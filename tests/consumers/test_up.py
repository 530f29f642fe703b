from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from consumers.up import Child, Tree, port_of
from stream.errors import ChildFailedError, SettingsError

WORKS = """
import signal, sys, threading
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
print("ready", flush=True)
stop.wait(30)
print("clean end", flush=True)
"""

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(30)
"""

DIES = "print('last words', flush=True); raise SystemExit(3)"


class Lines:
    """Collects what is said."""

    def __init__(self) -> None:
        self.all: list[tuple[str, str]] = []

    def __call__(self, name: str, line: str) -> None:
        self.all.append((name, line))

    def wait(self, wanted: tuple[str, str], count: int = 1) -> None:
        deadline = time.monotonic() + 20
        while self.all.count(wanted) < count:
            assert time.monotonic() < deadline, self.all
            time.sleep(0.01)


def child(name: str, program: str) -> Child:
    return Child(name, [sys.executable, "-c", program])


def running(
    tree: Tree, stop: threading.Event, kill: threading.Event | None = None
) -> Callable[[], None]:
    """Run a tree in a thread; the returned function joins it and raises its error."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            tree.run(stop, kill)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()

    def join() -> None:
        thread.join(30)
        assert not thread.is_alive()
        if errors:
            raise errors[0]

    return join


def test_children_run_side_by_side_and_end_cleanly() -> None:
    said, stop = Lines(), threading.Event()
    tree = Tree([child("a", WORKS), child("b", WORKS)], said)
    join = running(tree, stop)
    for name in ("a", "b"):
        said.wait((name, "ready"))
    stop.set()
    join()
    assert said.all.count(("a", "clean end")) == said.all.count(("b", "clean end")) == 1
    assert not any(one.running for one in tree.children)


def test_one_that_dies_is_started_again() -> None:
    said, stop = Lines(), threading.Event()
    tree = Tree([child("a", WORKS)], said, first_wait_s=0.05)
    join = running(tree, stop)
    said.wait(("a", "ready"))
    first = tree.children[0].process
    assert first is not None
    os.kill(first.pid, signal.SIGKILL)
    said.wait(("a", "ready"), count=2)
    stop.set()
    join()
    assert ("a", "ended by SIGKILL; starting it again in 0.05 s") in said.all


def test_one_that_keeps_dying_ends_them_all() -> None:
    said = Lines()
    tree = Tree([child("a", WORKS), child("b", DIES)], said, restarts=2, first_wait_s=0.01)
    with pytest.raises(ChildFailedError, match="b ended 3 times in a row, at last with status 3"):
        tree.run(threading.Event())
    assert said.all.count(("b", "last words")) == 3
    assert not any(one.running for one in tree.children)


def test_one_that_does_not_end_is_killed() -> None:
    said, stop = Lines(), threading.Event()
    join = running(Tree([child("a", STUBBORN)], said, grace_s=0.2), stop)
    said.wait(("a", "ready"))
    stop.set()
    join()
    assert ("a", "does not end; killed") in said.all


def test_a_second_signal_does_not_wait() -> None:
    said, stop, kill = Lines(), threading.Event(), threading.Event()
    join = running(Tree([child("a", STUBBORN)], said, grace_s=60), stop, kill)
    said.wait(("a", "ready"))
    stop.set()
    kill.set()
    join()


def test_an_orphan_sees_its_input_end(tmp_path: Path) -> None:
    # The tree itself is killed: its child must find out by its standard input.
    begun, mark = tmp_path / "begun", tmp_path / "ended"
    grandchild = (
        f"import sys, pathlib; pathlib.Path({str(begun)!r}).touch(); "
        f"sys.stdin.read(); pathlib.Path({str(mark)!r}).touch()"
    )
    program = f"""
import sys, threading
from consumers.up import Child, Tree, port_of
say = lambda name, line: print(line, flush=True)
Tree([Child("c", [sys.executable, "-c", {grandchild!r}])], say).run(threading.Event())
"""
    outer = Tree([child("tree", program)], Lines())
    outer._tend(outer.children[0])
    process = outer.children[0].process
    assert process is not None
    deadline = time.monotonic() + 60
    while not begun.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    while not mark.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.wait()
    outer._let_go(outer.children[0])


def test_each_child_has_a_port_of_its_own_whoever_else_runs() -> None:
    alone = [port_of(name, 9464) for name in ("catalogue", "neighbours", "personalize")]
    assert alone == [9464, 9465, 9468]
    several = [port_of("personalize", 9464, number) for number in range(1, 40)]
    every = [*alone[:2], port_of("archive", 9464), port_of("finetune", 9464), *several]
    assert len(set(every)) == len(every)
    assert port_of("personalize", 0, 3) == 0


def test_a_port_that_does_not_exist_is_refused_before_anything_starts() -> None:
    assert port_of("personalize", 65_531) == 65_535
    with pytest.raises(SettingsError, match="personalize would listen on 65536"):
        port_of("personalize", 65_531, 2)
