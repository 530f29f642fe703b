"""Passwords stay where they are set: commands fail, and what they leave behind is searched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from rillet.cli.options import opened
from stream.errors import RilletError, SettingsError, StoreError
from stream.kafka_client import connection
from stream.settings import RedisSettings, load_settings
from stream.store import Store
from stream.writes import Plain

ROOT = Path(__file__).resolve().parents[1]
ENTER = [sys.executable, "-m", "rillet.cli.main"]
KAFKA, REDIS, KEY = "swordfish-kafka", "swordfish-redis", "swordfish-key"
SECRET = "swordfish"
"""What all three have in common: no part of it may be seen either."""

SETTINGS = f"""
[kafka]
bootstrap = "127.0.0.1:1"
security_protocol = "SASL_SSL"
sasl_mechanism = "SCRAM-SHA-512"
sasl_username = "consumer"
sasl_password = "{KAFKA}"
ssl_password = "{KEY}"
timeout_s = 1

[redis]
url = "redis://consumer:{REDIS}@127.0.0.1:1/0"
retry_s = 0.1
"""
EVENT = '{"event":"search","timestamp":0,"user":"u","query":"q"}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rillet.toml"
    path.write_text(SETTINGS)
    (tmp_path / "log.jsonl").write_text(EVENT * 50)
    return path


@pytest.fixture
def clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}


def variables() -> dict[str, str]:
    """Return the same settings as variables, so that both ways in are searched."""
    return {
        "RILLET_KAFKA__BOOTSTRAP": "127.0.0.1:1",
        "RILLET_KAFKA__SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "RILLET_KAFKA__SASL_MECHANISM": "PLAIN",
        "RILLET_KAFKA__SASL_USERNAME": "consumer",
        "RILLET_KAFKA__SASL_PASSWORD": KAFKA,
        "RILLET_KAFKA__TIMEOUT_S": "1",
        "RILLET_REDIS__URL": f"redis://:{REDIS}@127.0.0.1:1/0",
        "RILLET_REDIS__RETRY_S": "0.1",
    }


FROM_FILE = [
    ["doctor", "--only", "settings,kafka,redis"],
    ["consume", "neighbours", "-vv"],
]
FROM_VARIABLES = [
    ["recommend", "u"],
    ["publish", "log.jsonl"],
    ["consume", "neighbours", "-vv"],
]


def family(pid: int) -> Iterator[int]:
    """Yield a process and all that come from it."""
    yield pid
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
        children = [(one / "children").read_text().split() for one in threads]
    except OSError:  # it has just ended
        return
    for child in (int(one) for some in children for one in some):
        yield from family(child)


def command_lines(pid: int) -> set[str]:
    found = set()
    for one in family(pid):
        try:
            found.add(Path(f"/proc/{one}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found - {""}


def watched(process: subprocess.Popen[Any], wanted: str) -> set[str]:
    """Return every command line of the family, until one has the wanted word."""
    seen: set[str] = set()
    deadline = time.monotonic() + 60
    while not any(wanted in line for line in seen):
        assert process.poll() is None, seen
        assert time.monotonic() < deadline, seen
        seen |= command_lines(process.pid)
        time.sleep(0.01)
    return seen


@pytest.mark.integration
def test_commands_that_fail_tell_no_password(file: Path, clean: dict[str, str]) -> None:
    runs = [([*one, "--settings", str(file)], clean) for one in FROM_FILE]
    runs += [(one, clean | variables()) for one in FROM_VARIABLES]
    processes = [
        subprocess.Popen(
            [*ENTER, *arguments],
            cwd=file.parent,
            env={**env, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for arguments, env in runs
    ]
    for (arguments, _), process in zip(runs, processes, strict=True):
        said, _ = process.communicate(timeout=100)
        assert process.returncode in (1, 2), f"{arguments}: {said}"
        assert "127.0.0.1:1" in said, arguments
        assert SECRET not in said, arguments
        assert "Traceback" not in said, arguments


@pytest.mark.integration
def test_neither_up_nor_its_children_show_a_password(file: Path, clean: dict[str, str]) -> None:
    log = file.parent / "up.log"
    with log.open("wb") as out:
        command = [*ENTER, "up", "-vv", "--settings", str(file)]
        process = subprocess.Popen(command, env=clean, stdout=out, stderr=out)
        try:
            seen = watched(process, "consume personalize")
            deadline = time.monotonic() + 60
            while b"127.0.0.1:1" not in log.read_bytes():
                assert time.monotonic() < deadline, log.read_text()
                seen |= command_lines(process.pid)
                time.sleep(0.05)
        finally:
            process.terminate()
            process.wait(60)
    assert len(seen) >= 2
    assert SECRET not in "".join(seen) + log.read_text()


def test_an_embedded_redis_is_told_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables().items():
        monkeypatch.setenv(name, value)
    redis = RedisSettings(url=SecretStr(f"embedded:{tmp_path}"))
    store = Store(redis, retry_s=5)
    try:
        store.write_plain([Plain(store.keys.recs("u"), b"{}", 60)])
        seen = command_lines(os.getpid())
    finally:
        store.close()
    left = b"".join(path.read_bytes() for path in tmp_path.iterdir() if path.is_file())
    assert any("redis-server" in line for line in seen)
    assert b"recs:u" in left
    assert SECRET not in "".join(seen)
    assert SECRET.encode() not in left


def test_settings_show_no_password(file: Path) -> None:
    settings = load_settings(file)
    shown = f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert shown.count("**********") >= 6
    assert SECRET not in shown
    password = settings.kafka.sasl_password
    assert password is not None
    assert password.get_secret_value() == KAFKA


@pytest.mark.parametrize(
    "wrong",
    [
        {"kafka": {"sasl_password": [KAFKA]}},
        {"kafka": {"sasl_pasword": KAFKA}},
        {"kafka": {"sasl_password": KAFKA}},
        {"kafka": {"sasl_password": KAFKA, "partitions": -1}},
        {"redis": {"url": {"password": REDIS}}},
        {"redis": {"url": f"redis://:{REDIS}@h", "ttl_days": SECRET}},
    ],
)
def test_wrong_settings_are_told_without_what_was_given(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(**wrong)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{REDIS}/x@127.0.0.1:1/0",
        f"redis://:x/{REDIS}@127.0.0.1:1/0",
        f"redis://u:{REDIS}#x@127.0.0.1:1/0",
        f"redis://u:{REDIS}[@127.0.0.1:1/0",
        f"http://u:{REDIS}@127.0.0.1:1/0",
        f"redis://u:{REDIS}@127.0.0.1:port/0",
        f"redis://u:{REDIS}@127.0.0.1:1/0?socket_timeout={SECRET}",
    ],
)
def test_a_url_that_cannot_be_read_is_not_repeated(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(RedisSettings(url=SecretStr(url), retry_s=0.1), retry_s=0.1).get("x")
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in caught.value.mend


def test_a_redis_that_is_away_is_named_without_its_password() -> None:
    store = Store(RedisSettings(url=SecretStr(f"redis://u:{REDIS}@127.0.0.1:1/0")), retry_s=0.1)
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1") as caught:
        store.get("x")
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_a_password_on_the_command_line_is_refused() -> None:
    with pytest.raises(SettingsError, match="list of processes") as caught:
        opened(None, f"redis://:{REDIS}@127.0.0.1:1/0")
    assert SECRET not in f"{caught.value}{caught.value.mend}"
    assert "RILLET_REDIS__URL" in caught.value.mend


def test_no_command_has_an_option_for_a_password() -> None:
    done = subprocess.run(
        [
            "grep",
            "-rniE",
            "--include=*.py",
            r'"--[a-z-]*(password|secret|token)',
            "rillet",
            "benchmarks",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (1, "")


def test_a_certificate_that_cannot_be_used_is_told_without_its_password(file: Path) -> None:
    pem = file.parent / "own.pem"
    pem.write_text("-----BEGIN CERTIFICATE-----\nnone\n-----END CERTIFICATE-----\n")
    kafka = load_settings(file).kafka.model_copy(update={"ssl_certfile": str(pem)})
    with pytest.raises(RilletError, match="ssl_certfile") as caught:
        connection(kafka)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
