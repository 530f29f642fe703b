from __future__ import annotations

import json
import signal
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rillet.checks import WARN, examine
from rillet.cli.live import _Ending
from rillet.publish import Pace, publish_log
from rillet.settings_text import settings_markdown, settings_toml
from stream.errors import NotReadyError
from stream.events import BadRecord, Identify, Item, decode, partition_key
from stream.log import read_log
from stream.memory import MemoryBroker
from stream.settings import Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = {"RILLET_KAFKA__BOOTSTRAP": "127.0.0.1:1", "RILLET_KAFKA__TIMEOUT_S": "1"}
ITEM = b'{"event":"item","timestamp":1,"item":"i"}'
VIEW = b'{"event":"interaction","timestamp":61001,"user":"u","item":"i","type":"view"}'


class HandStop:
    """Stands in for the event that ends a wait, and notes how long it was waited."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return False


@pytest.fixture
def ending() -> Iterator[_Ending]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield _Ending()
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_consumer_after_its_batch_and_a_second_one_at_once(
    ending: _Ending, number: signal.Signals
) -> None:
    ending.ready()
    signal.raise_signal(number)
    assert ending.stop.is_set()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


def test_a_signal_ends_a_consumer_that_has_not_begun_even_if_it_is_lost(ending: _Ending) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
    assert ending.stop.is_set()
    with pytest.raises(KeyboardInterrupt):  # whoever took the first one goes no further
        ending.ready()


def test_init_writes_a_file_that_changes_nothing(tmp_path: Path, command: Any) -> None:
    path = tmp_path / "rillet.toml"
    assert command("init", str(path)).returncode == 0
    assert load_settings(path) == load_settings()


def test_every_line_of_it_may_be_taken_into_use(tmp_path: Path) -> None:
    lines = settings_toml().splitlines()
    values = [line[1:] if line[1:2].islower() and " = " in line else line for line in lines]
    path = tmp_path / "all.toml"
    path.write_text("\n".join(values), "utf-8")
    named = tomllib.loads(path.read_text("utf-8"))
    assert load_settings(path) == Settings()
    for group, field in Settings.model_fields.items():
        for name in getattr(field.annotation, "model_fields", {}):
            default = getattr(getattr(Settings(), group), name)
            assert default is None or name in named[group]


def test_init_does_not_overwrite(tmp_path: Path, command: Any) -> None:
    path = tmp_path / "rillet.toml"
    path.write_text("# mine")
    refused = command("init", str(path))
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    assert path.read_text() == "# mine"
    assert command("init", str(path), "--force").returncode == 0
    assert path.read_text() == settings_toml()


def test_init_prints(command: Any) -> None:
    assert command("init", "--print").stdout == settings_toml()


def test_the_page_of_settings_is_in_step() -> None:
    page = (ROOT / "docs" / "settings.md").read_text("utf-8")
    assert page == settings_markdown(), "python -m rillet.settings_text > docs/settings.md"


@pytest.mark.parametrize(
    "arguments",
    [["init", "--topics"], ["consume", "neighbours"], ["publish", "-"], ["consume", "catalogue"]],
)
def test_without_kafka_it_says_so(command: Any, arguments: list[str]) -> None:
    done = command(*arguments, RILLET_REDIS__URL="embedded:", **NOWHERE)
    assert done.returncode == 2
    assert "127.0.0.1:1" in done.stderr
    assert "mend:  start Kafka, or set kafka.bootstrap" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_consumer_is_named(command: Any) -> None:
    done = command("consume", "persona", RILLET_REDIS__URL="embedded:")
    assert done.returncode == 2
    assert "the consumers are catalogue, personalize, neighbours" in done.stderr


def test_wrong_settings_end_up_before_anything_starts(command: Any) -> None:
    done = command("up", RILLET_KAFKA__BOOTSTRP="x")
    assert done.returncode == 2
    assert "kafka.bootstrap" in done.stderr
    assert "`rillet init --print` lists all settings" in done.stderr


def test_an_unknown_source_is_told_once_before_anything_starts(command: Any) -> None:
    done = command("up", RILLET_SOURCES__ENABLED="neighbors", **NOWHERE)
    assert done.returncode == 2
    assert done.stderr.count("sources.enabled: no source is called neighbors") == 1
    assert "mend:  the sources are neighbours, last," in done.stderr


def test_the_doctor_names_an_unknown_source(command: Any) -> None:
    done = command("doctor", "--only", "settings", RILLET_SOURCES__ENABLED="neighbors")
    assert done.returncode == 1
    assert "no source is called neighbors" in done.stdout
    assert "settings are valid" not in done.stdout


def test_a_lag_that_is_not_known_yet_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def ask(*_: object) -> None:
        raise NotReadyError("cannot ask", "try again")

    monkeypatch.setattr("stream.topics.group_lag", ask)
    found = examine(Settings(), "lag")
    assert [one.level for one in found] == [WARN] * 3
    assert "personalize is behind is not known yet" in found[1].message
    assert found[1].mend == "try again"


def test_a_log_is_published_to_both_topics(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join([ITEM, b"not json", VIEW, b'{"event":"item"}']))
    settings, broker = Settings(), MemoryBroker()
    found = publish_log(str(log), settings, broker.sink())
    assert (found.sent, found.events, found.items, found.bad) == (4, 3, 1, 2)
    assert [one.value for one in broker.records(settings.kafka.catalogue)] == [ITEM]
    sent = [one.value for one in broker.records(settings.kafka.events)]
    assert sent == [b"not json", VIEW, b'{"event":"item"}']


def test_what_kafka_would_refuse_stays_behind(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_bytes(b"\n".join([VIEW, b"x" * 5000, VIEW]))
    settings, broker = load_settings(kafka={"max_record_bytes": 4096}), MemoryBroker()
    found = publish_log(str(log), settings, broker.sink())
    assert found.too_long == [2]
    assert len(broker.records(settings.kafka.events)) == 2


def test_a_limit_ends_it(small_log: Path) -> None:
    broker = MemoryBroker()
    assert publish_log(str(small_log), Settings(), broker.sink(), limit=7).sent == 7


def test_every_user_keeps_his_order(small_log: Path) -> None:
    settings, broker = Settings(), MemoryBroker({"rillet.events": 3})
    publish_log(str(small_log), settings, broker.sink())
    wanted: dict[str, list[bytes]] = {}
    for _, raw in read_log(small_log):
        event = decode(raw)
        if not isinstance(event, (Item, Identify, BadRecord)):
            wanted.setdefault(partition_key(event), []).append(raw)
    found: dict[str, list[bytes]] = {}
    for record in broker.records(settings.kafka.events):
        if not isinstance(decode(record.value), Identify):  # keyed by the anonymous visitor
            found.setdefault((record.key or b"").decode(), []).append(record.value)
    assert found == wanted


def test_the_pace_is_that_of_the_events() -> None:
    stop: Any = HandStop()
    pace = Pace(60, stop)
    for time_ms in (1_000, 61_000, 31_000):
        pace.wait(time_ms)
    assert stop.waits == [pytest.approx(1.0, abs=0.2), pytest.approx(0.5, abs=0.2)]


def test_full_speed_does_not_wait() -> None:
    stop: Any = HandStop()
    pace = Pace(0, stop)
    pace.wait(1)
    pace.wait(10**12)
    assert stop.waits == []


def test_the_doctor_names_what_fails_and_how_to_mend_it(command: Any) -> None:
    done = command("doctor", "--json", RILLET_REDIS__URL="embedded:", **NOWHERE)
    assert done.returncode == 1
    found = {(one["area"], one["level"]) for one in json.loads(done.stdout)}
    assert {("settings", "ok"), ("encoder", "ok"), ("redis", "ok")} <= found
    assert {("kafka", "fail"), ("topics", "warn"), ("catalogue", "warn")} <= found
    mends = {one["area"]: one["mend"] for one in json.loads(done.stdout)}
    assert "start Kafka" in mends["kafka"]


def test_the_doctor_looks_only_where_it_is_asked_to(kept: Any, command: Any) -> None:
    done = command("doctor", "--only", "redis,catalogue", "--redis", kept.redis)
    assert done.returncode == 0, done.stdout
    assert "items" in done.stdout
    assert "kafka" not in done.stdout
    assert "\x1b" not in done.stdout


def test_the_doctor_knows_its_areas(command: Any) -> None:
    done = command("doctor", "--only", "liver")
    assert done.returncode == 2
    assert "consumers" in done.stderr


def test_status_shows_what_there_is(kept: Any, command: Any) -> None:
    done = command("status", "--redis", kept.redis, **NOWHERE)
    assert done.returncode == 0, done.stderr
    assert "no consumer is running" in done.stdout
    assert "newest event" in done.stdout
    found = json.loads(command("status", "--json", "--redis", kept.redis, **NOWHERE).stdout)
    assert found["processes"] == []
    assert found["freshness_ms"] > 0
    assert sum(found["blends"][0]["examples"].values()) > 0
    assert found["kafka"]


@pytest.mark.parametrize(
    "name",
    [
        *("init", "publish", "consume", "up", "replay"),
        *("recommend", "explain", "doctor", "status"),
    ],
)
def test_every_command_teaches_by_examples(name: str, command: Any) -> None:
    done = command(name, "--help")
    assert done.returncode == 0
    assert f"rillet {name}" in done.stdout
    assert "Examples" in done.stdout
