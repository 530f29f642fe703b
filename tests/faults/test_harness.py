"""The harness itself: it draws alike, its proxy breaks what it is to break, its oracle sees."""

from __future__ import annotations

import re
import signal
import socket
import socketserver
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import msgspec
import pytest
from pydantic import SecretStr

from stream import faults
from stream.archive.table import Row
from stream.archive.writer import ArchiveWriter
from stream.errors import SettingsError
from stream.events import Delete, Identify, decode, encode
from stream.faults import POINTS
from stream.records import Record, TopicPartition
from stream.settings import RedisSettings, Settings
from stream.store import Store
from stream.writes import Plain
from tests.builders import NOON, interaction, merge
from tests.faults.nursery import Child, Nursery
from tests.faults.oracle import STATES, Expected, differences, expect
from tests.faults.places import MERGE, Places
from tests.faults.proxy import HOST, Proxy
from tests.faults.scene import Player, Scene
from tests.faults.schedule import LOGS, draw
from tests.faults.shop import shop
from tests.faults.stage import Run, make_small_encoder, settings_for

ROOT = Path(__file__).resolve().parents[2]
LIFE_MS = 60_000


def test_schedules_and_logs_follow_from_their_seeds_alone() -> None:
    assert draw(4) == draw(4) != draw(5)
    assert shop(2) == shop(2) != shop(3)


def test_consecutive_seeds_pass_through_every_point() -> None:
    drawn = [action for seed in range(len(faults.POINTS)) for action in draw(seed).actions]
    assert {action.point for action in drawn if action.kind == "arm"} == set(faults.POINTS)


def test_two_hundred_schedules_have_every_fault() -> None:
    drawn = [action for seed in range(200) for action in draw(seed).actions]
    found = Counter(f"{action.kind} {action.name}" for action in drawn)
    for fault in ("lose redis", "restart redis", "cut redis", "cut kafka", "stall kafka"):
        assert found[fault] >= 5, fault
    assert found["restart kafka"] == 20


def pass_points(variable: str) -> int:
    """Return the exit code of a process that passes two points three times."""
    program = (
        "from stream import faults\n"
        "faults.arm()\n"
        "for _ in range(3):\n"
        "    faults.reach('polled')\n"
        "    faults.reach('states')\n"
        "    print('passed', flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)} | ({faults.VARIABLE: variable} if variable else {}),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.count(b"passed") == (2 if done.returncode else 3)
    return done.returncode


def test_a_point_kills_only_where_it_is_armed() -> None:
    assert pass_points("states:3:kill") == -signal.SIGKILL
    assert pass_points("states:4:kill") == pass_points("gained:1:kill") == pass_points("") == 0


@pytest.mark.parametrize("wrong", ["nowhere:1:kill", "states:0:kill", "states:1:hang", "states"])
def test_a_fault_that_does_not_exist_is_refused(
    wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(faults.VARIABLE, wrong)
    with pytest.raises(SettingsError, match="is no fault"):
        faults.arm()


class Alone(Child):
    """A child that was forked by no nursery."""

    def __init__(self, program: str) -> None:
        command = [sys.executable, "-c", f"{program}\nprint('up', flush=True)\nsignal.pause()"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        super().__init__(cast("Nursery", None), self.process.pid)
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.process.stdout.close()

    def poll(self) -> int | None:
        return self.process.poll()


HEARS = """
import os, signal
def end(number, frame):
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
signal.signal(signal.SIGTERM, end)
"""
"""A process that is told to end, starts to, and then dies of it all the same."""


@pytest.mark.parametrize(("program", "crashes"), [("import signal", 0), (HEARS, 1)])
def test_who_dies_of_sigterm_has_crashed_unless_he_could_not_hear_it(
    program: str, crashes: int, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    log.touch()
    scene = Scene(cast("Run", None), draw(0), [], lambda some: some[0])
    player = Player("personalize", Alone(program), log)
    scene._players.append(player)
    scene._end(player)
    code = cast("Alone", player.child).process.wait(30)
    scene._gone(player, code)
    assert (code, len(scene.crashed)) == (-signal.SIGTERM, crashes)


class Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(4096):
            self.request.sendall(data)


@pytest.fixture
def proxied() -> Iterator[Proxy]:
    server = socketserver.ThreadingTCPServer((HOST, 0), Echo)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    proxy = Proxy(0, server.server_address[1])
    yield proxy
    proxy.close()
    server.shutdown()
    server.server_close()


def connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection((HOST, proxy.port), timeout=10)


def to_the_end(connection: socket.socket) -> bytes:
    """Return what still comes before the connection ends, well or not."""
    received = b""
    try:
        while data := connection.recv(100):
            received += data
    except ConnectionError:
        pass
    return received


def test_the_proxy_passes_on_stalls_and_drops(proxied: Proxy) -> None:
    with connect(proxied) as one:
        one.sendall(b"before")
        assert one.recv(100) == b"before"
        proxied.stall()
        one.sendall(b"meanwhile")
        one.settimeout(0.2)
        with pytest.raises(TimeoutError):
            one.recv(100)
        one.settimeout(10)
        proxied.flow()
        assert one.recv(100) == b"meanwhile"
        proxied.drop()
        assert to_the_end(one) == b""


def test_the_proxy_cuts_in_the_middle_of_a_write(proxied: Proxy) -> None:
    proxied.cut(4)
    with connect(proxied) as one:
        one.sendall(b"0123456789")
        assert to_the_end(one) in (b"", b"0123")
    with connect(proxied) as two:
        two.sendall(b"whole again")
        assert two.recv(100) == b"whole again"


@pytest.fixture
def store() -> Iterator[Store]:
    one = Store(RedisSettings(url=SecretStr("embedded:")))
    yield one
    one.close()


def test_the_oracle_tells_lost_from_doubled(store: Store, tmp_path: Path) -> None:
    session = b'{"as_of":{"partition":0,"offset":1},"user":"u","events":%d}'
    place, rows = TopicPartition("run.events", 0), [Row(0, 0, "search", "u", None, b"{}")]
    ArchiveWriter(str(tmp_path)).write(place, 0, 1, rows)
    expected = Expected([])
    expected.states = {"session": {"u": session % 2, "v": session % 1}}
    expected.archived = Counter({("events", 0, 0, b"{}"): 1, ("events", 0, 1, b"[]"): 1})
    key = store.keys.session("u")

    def found(events: int) -> list[tuple[str, str]]:
        store.write_plain([Plain(key, session % events, LIFE_MS)])
        return [(one.way, one.what) for one in differences(expected, store, tmp_path, set())]

    gone = ("lost", "archive ('events', 0, 1)")
    assert found(1) == [("lost", "session u"), ("lost", "session v"), gone]
    assert found(3) == [("doubled", "session u"), ("lost", "session v"), gone]
    store.write_plain([Plain(store.keys.session("v"), session % 1, LIFE_MS)])
    assert found(2) == [gone]
    expected.archived = Counter()
    assert found(2) == [("differing", "archive ('events', 0, 0)")]


def test_places_are_the_same_wherever_merges_lie() -> None:
    events = [encode(interaction("i", NOON + n, "u")) for n in range(3)]
    union = encode(merge("v", b"{}", at=NOON))

    def places(*raws: bytes) -> Places:
        return Places(Record("events", 1, at, None, raw) for at, raw in enumerate(raws))

    apart = places(events[0], union, events[1], union, events[2])
    assert [apart.number(1, at) for at in range(5)] == [0, MERGE, 1, MERGE, 2]
    assert [places(*events).number(1, at) for at in (-1, 0, 2)] == [-1, 0, 2]
    assert apart.number(0, 4) == 4  # of another partition
    state = b'{"as_of":{"partition":1,"offset":%d},"merged":{"w":[1,%d]}}'
    session = apart.within("session", state % (4, 2))
    assert session == msgspec.json.decode(state % (2, 1))
    assert apart.within("itemstate", b'{"seen":{"1":4,"0":4}}') == {"seen": {"1": 2, "0": 4}}


def test_every_log_has_visitors_who_turn_out_to_be_users_and_users_who_are_forgotten() -> None:
    for number in range(LOGS):
        events = [decode(line) for line in shop(number)]
        assert sum(isinstance(one, Identify) for one in events) >= 8
        assert any(isinstance(one, Delete) and one.user for one in events)


def test_every_point_is_passed_somewhere_in_the_engine_and_no_other_is() -> None:
    sources = [path for folder in ("stream", "consumers") for path in (ROOT / folder).rglob("*.py")]
    passed = [
        point
        for path in sources
        if path.name != "faults.py"
        for point in re.findall(r'reach\("([a-z-]+)"\)', path.read_text("utf-8"))
    ]
    assert sorted(set(passed)) == sorted(POINTS | faults.ON_A_CLUSTER)


def test_what_is_expected_of_every_log_is_not_empty(tmp_path: Path) -> None:
    given = settings_for(tmp_path / "job0", "replay", "none", "embedded:", "range")
    make_small_encoder(tmp_path)
    found = expect(0, Settings.model_validate(given))
    for kind in STATES:
        assert found.states[kind], kind
    merged = [msgspec.json.decode(raw).get("merged") for raw in found.states["session"].values()]
    assert sum(map(bool, merged)) >= 5
    assert found.vectors and found.stamps and found.archived and found.letters
    assert sum(one["positives"] for one in found.learners.values()) > 0
