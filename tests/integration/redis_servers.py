"""Redis servers of every kind on loopback: alone, with TLS, a cluster, behind a Sentinel."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import redis

__all__ = ["SLOTS", "Certificates", "RedisServer", "cluster_of", "free_port", "until"]

WITHIN_S = 30.0
SLOTS = 16384
BUS = 10_000
"""A cluster's nodes talk to each other on the port so much higher."""


def until(what: Callable[[], Any], why: str) -> Any:
    """Wait until ``what`` returns something true; errors of Redis count as not yet."""
    deadline = time.monotonic() + WITHIN_S
    while True:
        try:
            if found := what():
                return found
        except redis.RedisError:
            pass
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


def _program() -> str:
    """Return the server's program: Redis, or Valkey where there is nothing else."""
    wanted = os.environ.get("RILLET_TEST_REDIS_SERVER")
    for name in [wanted] if wanted else ["redis-server", "valkey-server"]:
        if found := shutil.which(name):
            return found
    raise AssertionError(f"no {wanted or 'redis-server'} on the path; `make test` installs it")


def free_port() -> int:
    """Return a port that is free, and free beside it the one of a cluster's bus."""
    while True:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = int(one.getsockname()[1])
            if port + BUS > 65_535:
                continue
            try:
                other.bind(("127.0.0.1", port + BUS))
            except OSError:
                continue
            return port


class RedisServer:
    """A server of one's own, which keeps nothing on disk.

    ``certificates`` make it listen with TLS alone, and demand one of clients.
    """

    def __init__(
        self,
        home: Path,
        *options: str,
        certificates: Certificates | None = None,
        sentinel: str = "",
    ) -> None:
        self.home, self.port = home, free_port()
        home.mkdir(parents=True)
        self._tls = certificates
        listen = ["--port", str(self.port)]
        if certificates is not None:
            listen = ["--port", "0", "--tls-port", str(self.port), *certificates.of_server]
        program = _program()
        command = [program, "--bind", "127.0.0.1", *listen, "--dir", str(home), *options]
        if sentinel:
            (home / "sentinel.conf").write_text(sentinel)
            command = [program, str(home / "sentinel.conf"), "--sentinel", *command[1:]]
        else:
            command += ["--save", "", "--appendonly", "no"]
        with (home / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        until(self._listens, f"redis-server did not start: {(home / 'log').read_text()}")

    def _listens(self) -> bool:
        assert self.process.poll() is None, (self.home / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self, **options: Any) -> Any:
        """A client of the administrator's."""
        files = self._tls.of_client if self._tls else {}
        return redis.Redis(port=self.port, decode_responses=True, **files, **options)

    def end(self) -> None:
        """Kill it, without a word to anybody."""
        self.process.kill()
        self.process.wait()


def address_of(servers: Sequence[RedisServer]) -> str:
    """Return the URL of a cluster by some of its nodes."""
    return "redis+cluster://" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


def cluster_of(
    home: Path, masters: int, replicas: int, certificates: Certificates | None = None
) -> list[RedisServer]:
    """Start and join a cluster; the first servers are its masters."""
    options = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]
    options += ["--tls-cluster", "yes", "--tls-replication", "yes"] if certificates else []
    servers = [
        RedisServer(home / str(n), *options, certificates=certificates)
        for n in range(masters + replicas)
    ]
    clients = [server.client() for server in servers]
    for n, client in enumerate(clients[:masters]):
        first, end = n * SLOTS // masters, (n + 1) * SLOTS // masters
        client.execute_command("CLUSTER ADDSLOTS", *range(first, end))
        client.execute_command("CLUSTER SET-CONFIG-EPOCH", n + 1)
    for server in servers[1:]:
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", server.port)
    for n, client in enumerate(clients):
        until(partial(_knows, client, len(servers)), f"node {n} did not meet the others")
        if n >= masters:
            client.execute_command(
                "CLUSTER REPLICATE", clients[n - masters].execute_command("CLUSTER MYID")
            )
    for n, client in enumerate(clients):
        until(partial(_whole, client, masters), f"the cluster of node {n} is not whole")
        client.close()
    return servers


def _knows(client: Any, nodes: int) -> bool:
    return int(client.cluster("INFO")["cluster_known_nodes"]) == nodes


def _whole(client: Any, masters: int) -> bool:
    info = client.cluster("INFO")
    return info["cluster_state"] == "ok" and int(info["cluster_size"]) == masters


class Certificates:
    """A CA, and what it signed: for a server on loopback, for a client; and another CA."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(parents=True)
        for name in ("ca", "other"):
            self._openssl("req", "-x509", *self._key(name), "-out", f"{name}.crt", "-days", "2")
        for name, note in (
            ("server", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            ("client", "extendedKeyUsage=clientAuth"),
        ):
            (home / f"{name}.ext").write_text(note)
            self._openssl("req", *self._key(name), "-out", f"{name}.csr")
            signed = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"]
            signed += ["-in", f"{name}.csr", "-extfile", f"{name}.ext", "-out", f"{name}.crt"]
            self._openssl("x509", "-req", *signed)

    def _key(self, name: str) -> list[str]:
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        return [*kind, "-nodes", "-keyout", f"{name}.key", "-subj", f"/CN={name}"]

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            ["openssl", *arguments], cwd=self.home, capture_output=True, check=False, text=True
        )
        assert done.returncode == 0, done.stderr

    def path(self, file: str) -> str:
        return str(self.home / file)

    @property
    def of_server(self) -> list[str]:
        """Options of a server that demands a client's certificate."""
        files = {"ca-cert": "ca.crt", "cert": "server.crt", "key": "server.key"}
        given = [word for n, file in files.items() for word in (f"--tls-{n}-file", self.path(file))]
        return [*given, "--tls-auth-clients", "yes"]

    @property
    def of_client(self) -> dict[str, Any]:
        """Options of redis-py's client."""
        return {"ssl": True, "ssl_ca_certs": self.path("ca.crt")} | {
            "ssl_certfile": self.path("client.crt"),
            "ssl_keyfile": self.path("client.key"),
        }

    @property
    def settings(self) -> dict[str, str]:
        """The settings that use them."""
        return {
            "ssl_ca": self.path("ca.crt"),
            "ssl_cert": self.path("client.crt"),
            "ssl_key": self.path("client.key"),
        }
