"""What `rillet privacy rotate` publishes, as far as no server is needed to tell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rillet.cli.main import app
from stream.errors import SettingsError
from stream.settings import load_settings

NEW, OLD = "the new long secret", "the old long secret"


def counted(users: Path, *options: str) -> int:
    words = ["privacy", "rotate", "--users", str(users), "--dry-run", "--json", *options]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.exception
    return int(json.loads(done.stdout)["users"])


def test_who_is_named_by_his_pseudonym_already_is_not_handed_over_to_himself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RILLET_PRIVACY__KEY", NEW)
    his = CliRunner().invoke(app, ["privacy", "id", "alice"]).stdout
    users = tmp_path / "users.txt"
    users.write_text(f"alice\n\nbob\n{his}")
    assert counted(users, "--from-raw") == 2
    monkeypatch.setenv("RILLET_PRIVACY__OLD_KEY", OLD)
    assert counted(users) == 2


def test_without_a_secret_to_go_from_or_to_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = tmp_path / "users.txt"
    users.write_text("alice\n")
    for variables, options in (({}, ["--from-raw"]), ({"RILLET_PRIVACY__KEY": NEW}, [])):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        done = CliRunner().invoke(app, ["privacy", "rotate", "--users", str(users), *options])
        assert isinstance(done.exception, SettingsError)
        assert "RILLET_PRIVACY__OLD_KEY" in done.exception.mend
    assert load_settings().privacy.key is not None
