"""What a cluster's nodes hold of a batch that was broken off: nothing ahead of what it rests on."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from redis.crc import key_slot

from stream.events import Identify, decode
from stream.scanning import Sought, in_redis
from stream.settings import RedisSettings, Settings
from stream.store import Store
from stream.writes import Plain, Stamped, stamp_head
from tests.faults import oracle
from tests.faults.shop import shop
from tests.faults.stage import make_small_encoder, settings_for
from tests.integration.redis_servers import SLOTS, RedisServer, address_of, until

LIFE_MS = 600_000
LINES = 600
KILLED_AT = (2, 6)
"""Which passing of the point, at which all is there but users' states, ends a process."""

CHILD = """
import json, os, signal, sys
from pathlib import Path
from stream import faults
from stream.settings import Settings
from stream.store import Store
from tests.faults.oracle import replay

def play(settings):
    replay(Path(sys.argv[2]).read_bytes().splitlines(), settings, Store(settings.redis))

settings = Settings.model_validate(json.loads(sys.argv[1]))
for point in sys.argv[3:]:
    if not (child := os.fork()):
        os.environ[faults.VARIABLE] = point
        faults.arm()
        play(settings)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
play(settings)
"""


def node_of(key: str) -> int:
    """Return the number of the master that holds it."""
    return key_slot(key.encode()) * 3 // SLOTS


def test_while_the_node_of_one_turn_is_silent_nothing_of_the_next_is_sent(
    cluster: list[RedisServer], unique: str
) -> None:
    store = Store(RedisSettings(url=address_of(cluster), prefix=unique, timeout_s=0.3, retry_s=60))
    waited = threading.Event()

    def wait(delay: float) -> None:
        waited.set()
        time.sleep(delay)

    store.wait = wait
    learner = store.keys.learner(0)
    lists = [store.keys.open_list(0, f"u:r{n}") for n in range(60)]
    early = next(key for key in lists if node_of(key) != node_of(learner))
    states = [store.keys.session(f"u{n}") for n in range(60)]
    turns = {early: 0, learner: 1} | dict.fromkeys(states, 2)
    value = stamp_head(0, 7) + b"}}"
    batch = [Stamped(key, value, 0, 7, LIFE_MS, turn) for key, turn in turns.items()]
    nodes = [server.client() for server in cluster]
    store.write_stamped([Stamped(learner, stamp_head(0, 1) + b"}}", 0, 1, LIFE_MS)])
    silent = nodes[node_of(learner)]
    assert silent.exists(learner)
    silent.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
    writer = threading.Thread(target=store.write_stamped, args=[batch[::-1]])
    writer.start()
    first = nodes[node_of(early)]
    until(lambda: first.exists(early), "the first turn is not written")
    waited.clear()
    assert waited.wait(30)
    present = {key for node in nodes for key in node.keys(f"{unique}:*")}
    assert present == {early, learner}
    silent.execute_command("CLIENT", "UNPAUSE")
    writer.join(60)
    assert store.get_many(list(turns)) == [value] * len(turns)
    store.close()


@pytest.mark.timeout(240)
def test_processes_that_die_between_two_turns_lose_and_double_no_example(
    cluster: list[RedisServer], unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each process has a broker of its own, so nothing may lie there that another one published.
    lines = [line for line in shop(0) if not isinstance(decode(line), Identify)][:LINES]
    monkeypatch.setattr(oracle, "shop", lambda _seed: lines)
    (tmp_path / "log").write_bytes(b"\n".join(lines))
    make_small_encoder(tmp_path)
    given = settings_for(tmp_path / "job0", unique, "none", address_of(cluster), "range")
    points = [f"turn:{number}:kill" for number in KILLED_AT]
    done = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps(given), str(tmp_path / "log"), *points],
        capture_output=True,
        check=False,
        text=True,
        timeout=200,
    )
    assert done.stdout.split() == ["-9"] * len(points), done.stderr
    assert done.returncode == 0, done.stderr
    expected = oracle.expect(0, Settings.model_validate(given | {"redis": {"url": "embedded:"}}))
    store = Store(RedisSettings(url=address_of(cluster), prefix=unique))
    found = [
        one
        for one in oracle.differences(expected, store, tmp_path / "none", expected.letters)
        if one.what.split()[0] in ("session", "forgotten", "item", "recs", "learner")
    ]
    assert found == []
    assert len(expected.states["session"]) > 40
    assert sum(one["next"] for one in expected.learners.values()) > 100
    store.close()


def test_every_type_of_value_is_found_on_every_node(
    cluster: list[RedisServer], unique: str
) -> None:
    store = Store(RedisSettings(url=address_of(cluster), prefix=unique))
    others = [Plain(store.keys.session(f"u{n}"), b"{}", LIFE_MS) for n in range(2000)]
    store.write_plain(others)
    named = []
    for n in range(12):
        for command in (("SET", "{}", "zoe"), ("SADD", "{}", "zoe"), ("HSET", "{}", "zoe", "1")):
            named.append(f"{unique}:1:{command[0]}:{n}")
            store._redis.execute_command(command[0], named[-1], *command[2:])
    assert sorted(in_redis(store, Sought(["zoe"]))) == sorted(named)
    store.close()
