"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("numpy", "torch", "redis", "kafka", "river", "pydantic", "transformers")


def rillet(*arguments: str | Path, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rillet.cli.main", *map(str, arguments)]
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "COLUMNS": "100"}
    return subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("world") / "world.jsonl.gz"
    done = rillet(
        "simulate", "-o", path, "--users", "60", "--items", "300", "--days", "2", "--json"
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["events"] > 500
    return path


def test_the_same_command_writes_the_same_bytes(log: Path, tmp_path: Path) -> None:
    again = tmp_path / "again.jsonl.gz"
    done = rillet("simulate", "-o", again, "--users", "60", "--items", "300", "--days", "2")
    assert done.returncode == 0
    assert again.read_bytes() == log.read_bytes()
    assert "events" in done.stdout


def test_a_simulated_log_is_valid(log: Path) -> None:
    done = rillet("validate", log, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["ok"]
    assert not [problem for problem in report["problems"] if problem["level"] != "note"]


def test_validate_exits_with_one_and_names_the_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"event":"item","timestamp":0,"item":"a"}\n{"event":"itme"}\n')
    done = rillet("validate", bad)
    assert done.returncode == 1
    assert "lines: 2" in done.stdout
    assert "\x1b[" not in done.stdout


def test_a_missing_file_is_an_error_with_a_mend(tmp_path: Path) -> None:
    done = rillet("validate", tmp_path / "none.jsonl")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "error: there is no log" in done.stderr
    assert "mend:" in done.stderr
    assert "Traceback" not in done.stderr


def test_import_tells_what_it_did(tmp_path: Path) -> None:
    source = tmp_path / "orders.csv"
    source.write_text("c,s,d\nann,a,2024-01-01\nann,a,never\n")
    out = tmp_path / "log.jsonl"
    done = rillet("import", "csv", source, "--map", "user=c,item=s,timestamp=d", "-o", out)
    assert done.returncode == 0, done.stderr
    assert "1 events (1 interaction); 1 rows rejected" in done.stdout
    assert Path(f"{out}.rejected.jsonl").exists()
    plain = rillet(
        "import", "csv", source, "--map", "user=c,item=s,timestamp=d", "-o", out, "--json"
    )
    assert json.loads(plain.stdout)["kinds"] == {"interaction": 1}


def test_an_unknown_kind_and_an_unknown_command_are_usage_errors(tmp_path: Path) -> None:
    done = rillet("import", "excel", tmp_path, "-o", "x.jsonl")
    assert done.returncode == 2
    assert "movielens" in done.stderr
    done = rillet("simulat")
    assert done.returncode == 2
    assert "simulate" in done.stderr


def test_help_teaches_and_imports_nothing_heavy() -> None:
    done = rillet("--help")
    assert done.returncode == 0
    assert "rillet simulate -o world.jsonl.gz" in done.stdout
    for command in ("simulate", "import", "validate"):
        assert command in done.stdout
        assert "Examples" in rillet(command, "--help").stdout
    code = (
        "import sys; from rillet.cli.main import app\n"
        "try: app(['--help'])\n"
        "except SystemExit: pass\n"
        f"print('loaded', [name for name in {HEAVY!r} if name in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert found.stdout.strip().endswith("loaded []")


@pytest.mark.parametrize("name", ["x.csv", "x", "x.gz"])
def test_a_log_is_not_written_under_another_formats_name(name: str, tmp_path: Path) -> None:
    done = rillet("simulate", "-o", tmp_path / name, "--users", "20")
    assert done.returncode == 2
    assert "end it in .jsonl, .jsonl.gz, .jsonl.zst" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_log_on_standard_output_is_nothing_but_the_log() -> None:
    done = rillet("simulate", "-o", "-", "--users", "20", "--items", "300", "--days", "1")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert all(json.loads(line)["event"] for line in lines)
    assert f"{len(lines):,} events" in done.stderr


def _interrupted(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Press Ctrl-C until it ends: Python loses one that falls into a destructor."""
    for _ in range(20):
        process.send_signal(signal.SIGINT)
        try:
            return process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            continue
    raise AssertionError("it does not end")


def test_an_interrupt_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "world.jsonl.gz"
    # where the tests run in the background, SIGINT is ignored and has to be put back
    code = (
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from rillet.cli.main import main; main()"
    )
    command = [sys.executable, "-c", code, "simulate", "-o", str(out), "--users", "200000"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(tmp_path.iterdir()) and process.poll() is None:
            pass
        try:
            printed, said = _interrupted(process)
        finally:
            process.kill()
    assert process.returncode == 130
    assert printed == ""
    assert "Traceback" not in said
    assert list(tmp_path.iterdir()) == []
