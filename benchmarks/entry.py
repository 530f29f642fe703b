"""How a benchmark's command line is entered: the only place where errors become exit codes."""

from __future__ import annotations

import sys

import typer

from rillet.cli.interrupts import sigterm_interrupts
from rillet.cli.main import fail
from stream.errors import RilletError

__all__ = ["enter"]


def enter(app: typer.Typer, name: str) -> None:
    """Run a command line; what can be mended is told in two lines and ends with 2."""
    sigterm_interrupts()
    try:
        app(prog_name=name)
    except RilletError as error:
        fail(error)
        sys.exit(2)
