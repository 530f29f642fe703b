"""The command ``doctor``: what is wrong, and how to mend it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.markup import escape

from rillet.checks import AREAS, FAIL, NEEDS, OK, WARN, Finding, examine
from rillet.cli.options import AsJson, RedisUrl, SettingsFile, opened
from stream.errors import SettingsError
from stream.settings import Settings

__all__ = ["doctor"]

PROBLEM: Final = 1
COLOURS: Final = {OK: "green", WARN: "yellow", FAIL: "bold red"}


def doctor(
    *,
    only: Annotated[str, typer.Option(help="Only these areas, by commas; see below.")] = "",
    redis: RedisUrl = "",
    settings_file: SettingsFile = None,
    as_json: AsJson = False,
) -> None:
    """Check everything that Rillet needs, and say how to mend what is wrong.

    Exits with 0 when nothing fails; what is merely odd is a warning. Areas:
    settings, packages, encoder, kafka, topics, redis, catalogue, consumers, lag.

    [bold]Examples[/bold]

      rillet doctor

      rillet doctor --only kafka,topics,redis     (quick enough for a health check)

      rillet doctor --json | jq -r '.[] | select(.level == "fail").mend'
    """
    from consumers.wiring import configure_logs

    configure_logs(-1)
    settings = opened(settings_file, redis)
    out = Console(highlight=False, soft_wrap=True)
    found: list[Finding] = []
    for finding in _findings(settings, _areas(only)):
        found.append(finding)
        if not as_json:
            _show(out, finding)
    failed = sum(finding.level == FAIL for finding in found)
    if as_json:
        typer.echo(json.dumps([finding._asdict() for finding in found]))
    else:
        warnings = sum(finding.level == WARN for finding in found)
        out.print(f"[bold]{failed} failures, {warnings} warnings[/]")
    if failed:
        raise typer.Exit(PROBLEM)


def _areas(only: str) -> list[str]:
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in AREAS]:
        mend = f"the areas are {', '.join(AREAS)}"
        raise SettingsError(f"doctor knows no area {', '.join(unknown)}", mend)
    return [name for name in AREAS if not wanted or name in wanted]


def _findings(settings: Settings, areas: list[str]) -> Iterator[Finding]:
    """Yield what there is to say; what needs a server that is away is not asked again."""
    sick: set[str] = set()
    for area in areas:
        needed = NEEDS.get(area)
        if needed in sick:
            yield Finding(area, WARN, f"not looked at, for {needed} failed")
            continue
        for finding in examine(settings, area):
            if finding.level == FAIL:
                sick.add(area)
            yield finding


def _show(out: Console, finding: Finding) -> None:
    colour = COLOURS[finding.level]
    message = escape(finding.message)
    out.print(f"[{colour}]{finding.level:<4}[/]  {finding.area:<9}  {message}")
    if finding.mend:
        out.print(f"      {'':<9}  mend: {escape(finding.mend)}")
