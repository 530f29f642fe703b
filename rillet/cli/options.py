"""Options that several commands share, and how their values become settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from stream.errors import SettingsError
from stream.settings import Settings, load_settings

__all__ = ["AsJson", "RedisUrl", "SettingsFile", "Verbose", "opened"]

SettingsFile = Annotated[
    Path | None,
    typer.Option("--settings", help="The settings file; else $RILLET_SETTINGS, ./rillet.toml."),
]
RedisUrl = Annotated[
    str, typer.Option("--redis", help="Another Redis than redis.url, also embedded:DIR.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for scripts.")]
Verbose = Annotated[
    int, typer.Option("--verbose", "-v", count=True, help="Say more; twice: the libraries too.")
]


def opened(file: Path | None, redis: str = "", **overrides: Any) -> Settings:
    """Return the settings, with what the command line sets on top."""
    if redis:
        if "@" in redis:
            raise SettingsError(
                "--redis with a password: everyone on this machine can read it in the list of "
                "processes",
                "set RILLET_REDIS__URL, or redis.url in the settings file",
            )
        overrides["redis"] = {"url": redis}
    return load_settings(file, **overrides)
