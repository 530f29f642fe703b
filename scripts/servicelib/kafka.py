"""A single Apache Kafka broker in KRaft mode on loopback, run straight from its jars."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
import shutil
import socket
import struct
import subprocess
import uuid
from pathlib import Path

from servicelib.errors import ServiceError
from servicelib.process import (
    HOST,
    Process,
    apt_install,
    await_health,
    choose_port,
    end,
    run_quietly,
    say,
    spawn,
)

DEFAULT_PORT = 19092
_FILES = Path(__file__).resolve().parents[1] / "kafka"
_JARS = Path(__file__).resolve().parents[2] / "build" / "kafka" / "libs"
_JAVA_NEEDED = 17
_METADATA, _METADATA_VERSION = 3, 4

_PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=BROKER://{host}:{port}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=BROKER
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller}
log.dirs={data}
num.partitions=4
auto.create.topics.enable=false
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=16777216
log.segment.delete.delay.ms=1000
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
"""


_PROXIED = """\
listeners=BROKER://{host}:{port},CONTROLLER://{host}:{controller},PROXIED://{host}:{listens}
advertised.listeners=BROKER://{host}:{port},PROXIED://{host}:{told}
listener.security.protocol.map=BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT
"""


def start(
    home: Path, port: int, *, insist: bool, proxied: tuple[int, int] | None = None
) -> tuple[Process, int]:
    """Start a broker and wait until it serves its own metadata; return its process and port.

    Data that an earlier broker left in `home` is taken over. `proxied` is for a proxy before the
    broker: the port on which it listens for it, and the proxy's own, which clients are told.
    """
    java = _java(home)
    classpath = f"{_FILES}:{_jars(home)}/*"
    port = choose_port("Kafka", port, insist=insist)
    controller = choose_port("Kafka's controller", port + 1, insist=False)
    data, properties = home / "kafka", home / "kafka.properties"
    properties.write_text(
        _PROPERTIES.format(host=HOST, port=port, controller=controller, data=data)
    )
    if proxied is not None:
        listens, told = proxied
        more = _PROXIED.format(
            host=HOST, port=port, controller=controller, listens=listens, told=told
        )
        properties.write_text(properties.read_text() + more)
    if not (data / "meta.properties").exists():
        _format(java, classpath, properties, home / "format.log")
    log = home / "kafka.log"
    process = spawn(
        [java, "-Xms256m", "-Xmx512m", "-XX:+UseG1GC", "-Djava.awt.headless=true"]
        + ["-cp", classpath, "kafka.Kafka", str(properties)],
        log,
    )
    try:
        await_health("Kafka", process, log, lambda: problem(port), patience=90)
    except BaseException:
        end(process, patience=5)
        raise
    return process, port


def problem(port: int) -> str | None:
    """Say why the broker on this port is not usable; None if it is.

    It is usable when it names itself among the cluster's live brokers: an open port alone says
    nothing, and the broker enters its own metadata only once the controller lets it in.
    """
    try:
        brokers = _brokers(port)
    except (OSError, struct.error, UnicodeDecodeError) as error:
        return f"port {port}: {error}"
    if (HOST, port) not in brokers:
        return f"the broker on port {port} is not in its cluster's metadata"
    return None


def _brokers(port: int) -> list[tuple[str, int]]:
    """Ask for the cluster's brokers with a Metadata request for no topic."""
    header = struct.pack(">hhi", _METADATA, _METADATA_VERSION, 1) + struct.pack(">h", -1)
    request = header + struct.pack(">i?", 0, False)
    with socket.create_connection((HOST, port), timeout=2) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answer:
            size = struct.unpack(">i", answer.read(4))[0]
            body = answer.read(min(size, 1 << 20))
    (count,) = struct.unpack_from(">i", body, 8)  # after the correlation id and throttle time
    offset, brokers = 12, []
    for _ in range(count):
        (length,) = struct.unpack_from(">h", body, offset + 4)
        host_at = offset + 6
        (listens,) = struct.unpack_from(">i", body, host_at + length)
        brokers.append((body[host_at : host_at + length].decode(), listens))
        (rack,) = struct.unpack_from(">h", body, host_at + length + 4)
        offset = host_at + length + 6 + max(rack, 0)
    return brokers


def _format(java: str, classpath: str, properties: Path, log: Path) -> None:
    """Write the empty metadata log that a KRaft broker needs before its first start."""
    cluster = base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
    command = [java, "-XX:TieredStopAtLevel=1", "-cp", classpath, "kafka.tools.StorageTool"]
    arguments = ["format", "--cluster-id", cluster, "--config", str(properties)]
    run_quietly([*command, *arguments], "format Kafka's storage", log, patience=60)


def _jars(home: Path) -> Path:
    """Return the folder of the broker's jars; fetch them once per version of the pom."""
    pom = _FILES / "pom.xml"
    stamp = _JARS.parent / "pom.sha256"
    wanted = hashlib.sha256(pom.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return _JARS
    maven = shutil.which("mvn")
    if maven is None and apt_install(["maven"], home / "install.log"):
        maven = shutil.which("mvn")
    if maven is None:
        raise ServiceError("no mvn: install Maven 3.8 or newer (it fetches Kafka's jars)")
    say("fetching Kafka's jars with Maven, once")
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(_JARS)
    _JARS.mkdir(parents=True)
    goal = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"
    options = ["-q", "-B", "-f", str(pom), f"-DoutputDirectory={_JARS}"]
    run_quietly([maven, *options, goal], "fetch Kafka's jars", home / "maven.log", patience=600)
    stamp.write_text(wanted)
    return _JARS


def _java(home: Path) -> str:
    """Find a Java that is new enough, install one where that is possible."""
    found = _java_version()
    if found < _JAVA_NEEDED and apt_install(
        ["openjdk-21-jre-headless", "openjdk-17-jre-headless"], home / "install.log"
    ):
        found = _java_version()
    if found < _JAVA_NEEDED:
        has = f"Java {found} is too old" if found else "no java"
        raise ServiceError(f"{has}: install a Java runtime {_JAVA_NEEDED} or newer for Kafka")
    return "java"


def _java_version() -> int:
    """Return the major version of the java on the path; 0 without one."""
    try:
        answer = subprocess.run(
            ["java", "-version"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    found = re.search(r'version "(\d+)', answer.stderr)
    return int(found[1]) if found else 0
