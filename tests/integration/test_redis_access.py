"""Who is let in and to what: users of least privilege, certificates, Sentinels that move on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from consumers.replay import Replay
from consumers.training_input import catalogue_of
from features.text import load_encoder
from rillet import Client
from rillet.acl import ROLES, acl_lines
from rillet.verify import KINDS, compare
from stream.announcement import Announced, announce
from stream.errors import RilletError, StoreError
from stream.settings import RedisSettings, Settings, load_settings
from stream.store import Store
from stream.writes import Plain
from tests.builders import write_log
from tests.consumers.small_log import the_log
from tests.integration.live import Rillet
from tests.integration.redis_servers import Certificates, RedisServer, cluster_of, until

LIFE_MS = 600_000


class Guarded:
    """A server with the users that ``rillet init --acl`` made."""

    def __init__(self, server: RedisServer, passwords: dict[str, str]) -> None:
        self.server, self.passwords = server, passwords
        self.url = f"redis://127.0.0.1:{server.port}/0"

    def settings(self, role: str, **more: Any) -> dict[str, Any]:
        return {"url": self.url, "username": role, "password": self.passwords[role], **more}

    def refusals_are(self, expected: list[Any]) -> None:
        """Hold what was refused to anybody against what was to be."""
        with self.server.client(username="admin", password=self.passwords["admin"]) as client:
            found = [(one["username"], one["object"]) for one in client.acl_log()]
        assert found == expected


class Ending:
    """Ends servers with the test that started them."""

    def __init__(self) -> None:
        self._servers: list[RedisServer] = []

    def __call__(self, *servers: RedisServer) -> RedisServer:
        """Keep them in mind; return the first."""
        self._servers += servers
        return servers[0]

    def end(self) -> None:
        for server in self._servers:
            server.end()


@pytest.fixture
def ending() -> Iterator[Ending]:
    one = Ending()
    yield one
    one.end()


@pytest.fixture
def guarded(rillet: Rillet, tmp_path: Path, ending: Ending) -> Guarded:
    file = tmp_path / "users.acl"
    made = rillet("init", "--acl", str(file), "--json")
    assert made.returncode == 0, made.stderr
    passwords = json.loads(made.stdout)["passwords"]
    assert not any(password in file.read_text() for password in passwords.values())
    assert file.stat().st_mode & 0o077 == 0
    return Guarded(ending(RedisServer(tmp_path / "redis", "--aclfile", str(file))), passwords)


def test_the_reader_reads_lists_and_nothing_else(guarded: Guarded, unique: str) -> None:
    admin = Store(RedisSettings(**guarded.settings("admin", prefix=unique)), retry_s=0)
    recs, session = admin.keys.recs("u"), admin.keys.session("u")
    admin.write_plain([Plain(recs, b'{"items": []}', LIFE_MS), Plain(session, b"{}", LIFE_MS)])
    reader = Store(RedisSettings(**guarded.settings("rillet-reader", prefix=unique)), retry_s=0)
    assert reader.get(recs) == b'{"items": []}'
    forbidden: dict[str, Callable[[], object]] = {
        "see a session": lambda: reader.get(session),
        "write": lambda: reader.write_plain([Plain(recs, b"x", LIFE_MS)]),
        "delete": lambda: reader.write_plain([Plain(recs, None)]),
        "see who there is": lambda: list(reader.scan("recs")),
        "see the server": reader.health,
        "take a lease": lambda: reader.lease("finetune", 60).take(),
        "follow the feed": lambda: reader.read_changes("0-0"),
    }
    for what, action in forbidden.items():
        with pytest.raises(StoreError, match="permission") as caught:
            action()
        assert "docs/security.md" in caught.value.mend, what
        assert guarded.passwords["rillet-reader"] not in str(caught.value)
    for verb in ("FLUSHALL", "CONFIG GET *", "KEYS *", "ACL LIST", "EVAL return(1) 0", "TTL x"):
        with pytest.raises(redis.exceptions.NoPermissionError):
            reader._redis.execute_command(*verb.split())
    settings = load_settings(redis=guarded.settings("rillet-reader", prefix=unique))
    with Client(settings) as client, pytest.raises(RilletError, match="permission"):
        client.session("u")
    for store in (admin, reader):
        store.close()


def test_nobody_gets_in_without_a_password(guarded: Guarded) -> None:
    for wrong in ({}, {"username": "rillet-reader", "password": "hunter2"}):
        store = Store(RedisSettings(**{"url": guarded.url, **wrong}), retry_s=60)
        with pytest.raises(StoreError) as caught:  # at once: waiting would not help
            store.get(store.keys.recs("u"))
        assert "redis.password" in caught.value.mend
        assert "hunter2" not in str(caught.value)
        store.close()


def replayed(settings: Settings, log: Path) -> Store:
    """Replay a log into the Redis of the settings; return it, open."""
    store = Store(settings.redis, retry_s=0)
    Replay(settings, store, load_encoder(settings.encoder)).run(log)
    return store


def test_consumer_trainer_and_operator_can_do_their_work_and_ask_for_no_more(
    guarded: Guarded, store: Store, unique: str, tmp_path: Path, ending: Ending
) -> None:
    """And a cluster, a plain server and a guarded one end in the same bytes."""

    def settings(**redis: Any) -> Settings:
        return load_settings(redis={"prefix": unique, **redis})

    servers = cluster_of(tmp_path / "cluster", 3, 0)
    ending(*servers)
    log = write_log(tmp_path / "log.jsonl", the_log(visits=30))
    plain = replayed(settings(url=store.settings.url), log)
    others = {
        "cluster": replayed(settings(url=f"redis+cluster://127.0.0.1:{servers[0].port}"), log),
        "guarded": replayed(settings(**guarded.settings("rillet-consumer")), log),
    }
    guarded.refusals_are([])
    operator = Store(settings(**guarded.settings("rillet-operator")).redis, retry_s=0)
    others["as the operator sees it"] = operator
    for name, other in others.items():
        for kind in KINDS:
            found = compare(other, plain, kind)
            assert (found.wrong, found.equal > 0) == (0, True), (name, found)
    trainer = settings(**guarded.settings("rillet-trainer"))
    training = Store(trainer.redis, retry_s=0)
    catalogue = catalogue_of(trainer, training, load_encoder(trainer.encoder))
    assert len(catalogue) > 10
    announce(training, "sequence", Announced("v1", "models", 1))
    assert operator.health().keys > 50
    guarded.refusals_are([])
    for one in (plain, operator, training, *others.values()):
        one.close()


def test_the_trainer_holds_the_lease_and_announces_but_sees_no_user(
    guarded: Guarded, unique: str
) -> None:
    settings = guarded.settings("rillet-trainer", prefix=unique)
    store = Store(RedisSettings(**settings), retry_s=0)
    lease = store.lease("finetune", 60)
    assert lease.take()
    assert lease.renew()
    lease.give_up()
    assert lease.take()
    store.write_plain([Plain(store.keys.model("sequence"), b"{}", LIFE_MS)])
    with pytest.raises(StoreError, match="permission"):
        store.get(store.keys.session("u"))
    with pytest.raises(StoreError, match="permission"):
        store.write_plain([Plain(store.keys.recs("u"), b"{}", LIFE_MS)])
    store.close()


def test_the_users_work_on_a_cluster_too(
    rillet: Rillet, unique: str, tmp_path: Path, ending: Ending
) -> None:
    file = tmp_path / "users.acl"
    passwords = json.loads(rillet("init", "--acl", str(file), "--json").stdout)["passwords"]
    servers = cluster_of(tmp_path / "cluster", 3, 0)
    ending(*servers)
    lines = [line.split()[1:] for line in file.read_text().splitlines() if "user rillet" in line]
    for server in servers:
        client = server.client()
        for line in lines:
            client.execute_command("ACL SETUSER", *line)
        client.close()
    url = f"redis+cluster://127.0.0.1:{servers[0].port}"

    def store(role: str) -> Store:
        pair = {"username": role, "password": passwords[role]}
        return Store(RedisSettings(url=url, prefix=unique, **pair), retry_s=0)

    consumer, reader, operator = (store(f"rillet-{n}") for n in ("consumer", "reader", "operator"))
    keys = [consumer.keys.recs(f"u{n}") for n in range(50)]
    consumer.write_plain([Plain(key, b"{}", LIFE_MS) for key in keys])
    assert reader.get_many(keys) == [b"{}"] * 50
    assert operator.health().keys == 50
    with pytest.raises(StoreError, match="permission"):
        reader.write_plain([Plain(keys[0], b"x", LIFE_MS)])
    stranger = Store(RedisSettings(url=f"redis+cluster://x:hunter2@{url[16:]}"), retry_s=60)
    with pytest.raises(StoreError) as caught:
        stranger.get("x")
    assert "redis.password" in caught.value.mend
    assert "hunter2" not in str(caught.value)
    for one in (consumer, reader, operator, stranger):
        one.close()


def test_tls_lets_in_whoever_has_a_certificate_and_trusts_only_its_ca(
    tmp_path: Path, ending: Ending
) -> None:
    files = Certificates(tmp_path / "tls")
    server = ending(RedisServer(tmp_path / "redis", certificates=files))
    url = f"rediss://127.0.0.1:{server.port}/0"
    trusted = {"ssl_ca": files.path("ca.crt")}
    wrong: list[dict[str, str]] = [
        {"url": url, **trusted},  # no certificate of one's own
        {"url": url, **files.settings, "ssl_ca": files.path("other.crt")},
        {"url": url, **trusted, "ssl_cert": files.path("other.crt")}
        | {"ssl_key": files.path("other.key")},
        {"url": url},  # the system's CAs did not sign it
    ]
    for settings in wrong:
        store = Store(RedisSettings(**settings), retry_s=0)
        with pytest.raises(StoreError) as caught:
            store.get("x")
        assert "redis.ssl_ca" in caught.value.mend, caught.value
        store.close()
    plain = Store(RedisSettings(url=url.replace("rediss", "redis")), retry_s=0)
    with pytest.raises(StoreError):
        plain.get("x")
    plain.close()
    store = Store(RedisSettings(url=url, **files.settings), retry_s=0)
    store.write_plain([Plain("x", b"y", LIFE_MS)])
    assert (store.get("x"), store.url) == (b"y", url)
    store.close()


def test_the_command_line_works_over_tls(
    rillet: Rillet, variables: dict[str, str], tmp_path: Path, ending: Ending
) -> None:
    files = Certificates(tmp_path / "tls")
    server = ending(RedisServer(tmp_path / "redis", certificates=files))
    url = f"rediss://127.0.0.1:{server.port}/0"
    variables |= {f"RILLET_REDIS__{n.upper()}": value for n, value in files.settings.items()}
    variables["RILLET_REDIS__URL"] = url
    asked = rillet("doctor", "--only", "redis")
    assert asked.returncode == 0, asked.stderr
    assert url in asked.stdout.replace("\n", "")


def test_a_master_that_dies_behind_sentinels_is_waited_for(tmp_path: Path, ending: Ending) -> None:
    master = ending(RedisServer(tmp_path / "master"))
    of_master = ("--replicaof", "127.0.0.1", str(master.port))
    replica = ending(RedisServer(tmp_path / "replica", *of_master))
    watch = f"sentinel monitor shop 127.0.0.1 {master.port} 1\n"
    watch += "sentinel down-after-milliseconds shop 500\nsentinel failover-timeout shop 5000\n"
    sentinel = ending(RedisServer(tmp_path / "sentinel", sentinel=watch))
    there = replica.client()
    until(lambda: there.info("replication")["master_link_status"] == "up", "no replication")
    asked = sentinel.client()
    until(lambda: asked.sentinel_slaves("shop"), "the Sentinel knows no replica")
    url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/shop"
    store = Store(RedisSettings(url=url), retry_s=60)
    store.write_plain([Plain("before", b"x", LIFE_MS)])
    there_yet = master.client()
    assert there_yet.wait(1, 5000) == 1
    master.end()
    store.write_plain([Plain("after", b"y", LIFE_MS)])
    assert store.get_many(["before", "after"]) == [b"x", b"y"]
    assert there.get("after") == "y"
    store.close()


def test_the_shipped_file_is_what_the_command_writes_without_passwords() -> None:
    root = Path(__file__).resolve().parents[2]
    shipped = (root / "deploy" / "redis" / "users.acl").read_text("utf-8")
    assert shipped == acl_lines()
    assert len(shipped.splitlines()) == len(ROLES) + 1
    assert "nopass" not in shipped.split("\n", 1)[1]
