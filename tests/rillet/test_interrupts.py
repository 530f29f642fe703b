"""Ctrl-C and SIGTERM: held back while libraries are loaded, and never lost."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rillet.cli.interrupts import held_back, load_libraries, sigterm_interrupts

NUMBERS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    before = [signal.getsignal(number) for number in NUMBERS]
    sigterm_interrupts()
    yield
    for number, handler in zip(NUMBERS, before, strict=True):
        signal.signal(number, handler)


@pytest.mark.parametrize("number", NUMBERS)
def test_an_interrupt_waits_for_the_end_of_what_must_not_be_cut(number: signal.Signals) -> None:
    done: list[str] = []

    def body() -> None:
        with held_back():
            os.kill(os.getpid(), number)
            done.append("to its end")

    with pytest.raises(KeyboardInterrupt):
        body()
    assert done == ["to its end"]
    with pytest.raises(KeyboardInterrupt):  # and afterwards it ends at once again
        os.kill(os.getpid(), number)


def test_without_an_interrupt_nothing_happens() -> None:
    with held_back():
        pass
    assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler


def test_an_interrupt_within_a_library_that_loses_it_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pybind11's initialisers do: whatever is raised within becomes an ImportError."""
    library = """
import os, signal
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    raise ImportError("initialization failed")
"""
    (tmp_path / "loses_interrupts.py").write_text(library)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        load_libraries(["loses_interrupts"])
    assert "loses_interrupts" in sys.modules
