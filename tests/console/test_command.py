"""The options of ``rillet serve`` that are the console's."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from rillet.cli.main import app
from stream.errors import SettingsError


def test_one_redis_is_enough() -> None:
    done = CliRunner().invoke(
        app, ["serve", "--embedded", "here", "--redis", "redis://127.0.0.1:1/0"]
    )
    assert isinstance(done.exception, SettingsError)
    assert "--embedded and --redis" in str(done.exception)


@pytest.mark.parametrize("option", ["--embedded", "--resume-clock", "--open", "--no-console"])
def test_the_help_says_what_there_is(option: str) -> None:
    done = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"})
    assert option in done.output
