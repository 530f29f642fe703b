"""One call of the benchmarks, of the parts that need no server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.__main__ import app
from benchmarks.bench import Bench
from stream.errors import SettingsError

SMALL = ["--quick", "--imported", "1000", "--only", "training,encoding,import"]


@pytest.mark.timeout(240)
def test_the_json_has_the_headlines_on_top(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    found = CliRunner().invoke(app, [*SMALL, "-o", str(path)])
    assert found.exit_code == 0, found.output
    written = json.loads(path.read_text())
    assert set(written["parts"]) == {"training", "encoding", "import"}
    assert written["import_events_per_s"] == written["parts"]["import"]["events_per_s"] > 0
    assert written["encoding_texts_per_s"] > 0
    assert written["training_sequences_per_s"] > 0
    assert written["parts"]["import"]["events"] == 1000
    assert written["sizes"]["seed"] == 7
    assert "they mean nothing" in found.output


def test_what_was_finished_is_written_after_ctrl_c(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(bench: Bench, *_: object) -> Iterator[str]:
        bench.results["import"] = {"events_per_s": 5, "events": 1, "users": 1}
        bench.results["import"] |= {"cpu_us_per_event": 1.0, "peak_rss_mib": 1}
        yield "import"
        raise KeyboardInterrupt

    monkeypatch.setattr(Bench, "measure", interrupted)
    path = tmp_path / "bench.json"
    found = CliRunner().invoke(app, ["--only", "import", "-o", str(path)])
    assert found.exit_code == 130
    assert json.loads(path.read_text())["import_events_per_s"] == 5


@pytest.mark.parametrize(
    "options", [["--loads", "a"], ["--loads", "0,50"], ["--quick", "--catalogues", "1000,2000"]]
)
def test_sizes_that_cannot_be_are_refused(options: list[str], tmp_path: Path) -> None:
    written = ["--only", "quality", "-o", str(tmp_path / "bench.json")]
    found = CliRunner().invoke(app, [*options, *written])
    assert isinstance(found.exception, SettingsError)
