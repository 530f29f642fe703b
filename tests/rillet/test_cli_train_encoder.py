"""`rillet train-encoder` and `rillet models export`, run as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.text import load_encoder
from stream.settings import EncoderSettings
from tests.builders import write_log
from tests.tiny_encoder import make_encoder
from tests.tuned import TEXTS, WORDS, goods, quick, walks


@pytest.fixture(scope="module")
def variables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    home = tmp_path_factory.mktemp("tuning")
    tiny = make_encoder(home / "tiny", WORDS)
    given = {f"RILLET_ENCODER_TUNING__{n.upper()}": str(value) for n, value in quick().items()}
    own = {"MODEL": str(tiny), "CACHE_DIR": str(home / "cache"), "INT8": "false"}
    return given | {f"RILLET_ENCODER__{name}": value for name, value in own.items()}


def test_a_log_is_tuned_on_and_the_encoder_is_exported_and_used(
    command: Any, tmp_path: Path, variables: dict[str, str]
) -> None:
    log = write_log(tmp_path / "events.jsonl", [*goods(), *walks()])
    where = ("--registry", str(tmp_path / "models"))
    done = command("train-encoder", str(log), *where, "--json", "--seed", "2", **variables)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["verdict"]["promote"], found
    rows = json.loads(command("models", "list", "--json", *where).stdout)
    kinds = {(row["kind"], row["status"]) for row in rows}
    assert kinds == {("encoder", "current"), ("encoder", "before")}
    (row,) = [one for one in rows if one["status"] == "current"]
    assert (row["version"], row["metrics"]) == (found["version"], found["metrics"])

    folder = tmp_path / "mine"
    out = command("models", "export", found["version"], str(folder), *where, **variables)
    assert out.returncode == 0, out.stderr
    assert f"RILLET_ENCODER__MODEL={folder}" in out.stdout
    cache = variables["RILLET_ENCODER__CACHE_DIR"]
    own, mine = (
        load_encoder(EncoderSettings(model=model, cache_dir=cache, int8=False)).encode(TEXTS)
        for model in (variables["RILLET_ENCODER__MODEL"], str(folder))
    )
    assert not np.allclose(own, mine, atol=0.05)
    again = command("models", "export", found["version"], str(folder), *where, **variables)
    assert again.returncode == 2
    assert "is there already" in again.stderr

    back = command("models", "rollback", "--kind", "encoder", *where, RILLET_REDIS__URL="embedded:")
    assert back.returncode == 0, back.stderr
    assert "is the current encoder model" in back.stdout


def test_too_little_is_told_with_a_mend(
    command: Any, tmp_path: Path, variables: dict[str, str]
) -> None:
    log = write_log(tmp_path / "events.jsonl", [*goods(), *walks(2, each=3)])
    done = command("train-encoder", str(log), "--registry", str(tmp_path / "m"), **variables)
    assert done.returncode == 2
    assert "are too few to learn" in done.stderr
    assert "mend:" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_wrong_usage_is_told(command: Any, tmp_path: Path, variables: dict[str, str]) -> None:
    done = command("train-encoder", "nowhere.jsonl", **variables)
    assert done.returncode == 2
    assert "there is no log nowhere.jsonl" in done.stderr
    where = ("--registry", str(tmp_path / "m"))
    done = command("models", "export", "20261124T183000-ab12cd", "x", *where, **variables)
    assert done.returncode == 2
    assert "has no model '20261124T183000-ab12cd'" in done.stderr


@pytest.mark.parametrize("words", [("train-encoder",), ("models", "export")], ids=" ".join)
def test_they_teach_by_example(command: Any, words: tuple[str, ...]) -> None:
    done = command(*words, "--help")
    assert done.returncode == 0
    assert "Examples" in done.stdout
    assert f"rillet {' '.join(words)}" in done.stdout
