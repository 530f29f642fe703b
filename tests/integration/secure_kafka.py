"""A real Kafka of its own that lets nobody in unknown: TLS, SCRAM, and each role's ACLs."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from kafka.admin import (  # type: ignore[import-untyped]
    ACL,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourceType,
)
from pydantic import SecretStr

from stream.kafka import admin
from stream.settings import KafkaSettings

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "scripts"))

from servicelib import kafka as broker  # noqa: E402 - its folder goes on the path first
from servicelib.process import HOST, await_health, end, free_ports, run_quietly, spawn  # noqa: E402

__all__ = ["SecureKafka", "running"]

USERS = ("app", "consumer", "operator", "nobody")

PROPERTIES = """\
process.roles=broker,controller
node.id=1
listeners=INSIDE://{host}:{inside},SCRAM://{host}:{scram},MUTUAL://{host}:{mutual},CONTROLLER://{host}:{controller}
advertised.listeners=INSIDE://{host}:{inside},SCRAM://localhost:{scram},MUTUAL://localhost:{mutual}
listener.security.protocol.map=INSIDE:PLAINTEXT,SCRAM:SASL_SSL,MUTUAL:SSL,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INSIDE
controller.listener.names=CONTROLLER
controller.quorum.voters=1@{host}:{controller}
log.dirs={home}/data
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.heartbeat.interval.ms=500
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.cleaner.dedupe.buffer.size=16777216
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
# Whoever comes without a login comes from inside: the broker itself, and who prepares the test.
super.users=User:ANONYMOUS
ssl.keystore.type=PEM
ssl.keystore.location={home}/broker.pem
ssl.truststore.type=PEM
ssl.truststore.location={home}/ca.crt
listener.name.mutual.ssl.client.auth=required
sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.scram.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.scram.plain.sasl.jaas.config=\
org.apache.kafka.common.security.plain.PlainLoginModule required user_app="{plain}";
"""


class Grant(NamedTuple):
    """One line of the table in docs/security-kafka.md."""

    role: str
    operation: str
    kind: str
    name: str


def grants() -> list[Grant]:
    """Return what the documentation says each role may do."""
    page = (ROOT / "docs" / "security-kafka.md").read_text("utf-8")
    table = page.split("<!-- acls")[1].split("<!-- /acls -->")[0]
    rows = [row.strip("| ").split(" | ") for row in table.splitlines() if row.startswith("| ")]
    return [Grant(*row) for row in rows[1:]]


@dataclass(frozen=True)
class SecureKafka:
    """Where it listens, where the certificates lie, and each user's password."""

    home: Path
    inside: int
    scram: int
    mutual: int
    passwords: dict[str, str]

    def settings(self, user: str, **changes: Any) -> KafkaSettings:
        """Return how this user comes in."""
        given: dict[str, Any] = {
            "bootstrap": f"localhost:{self.scram}",
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "SCRAM-SHA-512",
            "sasl_username": user,
            "sasl_password": SecretStr(self.passwords[user]),
            "ssl_cafile": str(self.home / "ca.crt"),
            "timeout_s": 5,
            "session_s": 6,
        }
        return KafkaSettings(**(given | changes))

    def by_certificate(self, **changes: Any) -> KafkaSettings:
        """Return how the application comes in by its certificate."""
        given: dict[str, Any] = {
            "bootstrap": f"localhost:{self.mutual}",
            "security_protocol": "SSL",
            "ssl_cafile": str(self.home / "ca.crt"),
            "ssl_certfile": str(self.home / "app.crt"),
            "ssl_keyfile": str(self.home / "app.key"),
            "timeout_s": 5,
        }
        return KafkaSettings(**(given | changes))


@contextmanager
def running(home: Path) -> Iterator[SecureKafka]:
    """Run a broker in ``home`` with users, certificates and ACLs, and no topic yet."""
    certify(home)
    inside, scram, mutual, controller = free_ports(4)
    passwords = {user: f"{user}-{secrets.token_hex(8)}" for user in USERS}
    plain = passwords["plain app"] = f"plain-{secrets.token_hex(8)}"
    where = {"inside": inside, "scram": scram, "mutual": mutual, "controller": controller}
    properties = home / "kafka.properties"
    properties.write_text(PROPERTIES.format(host=HOST, home=home, plain=plain, **where))
    java, jars = broker._java(home), f"{broker._FILES}:{broker._jars(home)}/*"
    command = [java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-cp", jars]
    format_ = [*command, "kafka.tools.StorageTool", "format", "--cluster-id", "c" * 22]
    for user in USERS:
        format_ += ["--add-scram", f"SCRAM-SHA-512=[name={user},password={passwords[user]}]"]
    run_quietly([*format_, "--config", str(properties)], "format", home / "format.log", 60)
    process = spawn([*command, "kafka.Kafka", str(properties)], home / "kafka.log")
    try:
        health = home / "kafka.log"
        await_health("Kafka", process, health, lambda: broker.problem(inside), patience=90)
        _grant(KafkaSettings(bootstrap=f"{HOST}:{inside}"))
        yield SecureKafka(home, inside, scram, mutual, passwords)
    finally:
        end(process, patience=2)


def _grant(settings: KafkaSettings) -> None:
    acls = []
    principals = {"app": ["User:app", "User:CN=app"]}
    for grant in grants():
        prefixed = grant.name.endswith("*")
        pattern = ACLResourcePatternType.PREFIXED if prefixed else ACLResourcePatternType.LITERAL
        kind, name = ResourceType[grant.kind.upper()], grant.name.rstrip("*")
        for principal in principals.get(grant.role, [f"User:{grant.role}"]):
            acls.append(
                ACL(
                    principal=principal,
                    host="*",
                    operation=ACLOperation[grant.operation.upper()],
                    permission_type=ACLPermissionType.ALLOW,
                    resource_pattern=ResourcePattern(kind, name, pattern),
                )
            )
    with admin(settings, "grant") as client:
        client.create_acls(acls)


def certify(home: Path) -> None:
    """Make an authority, the broker's certificate (for localhost alone), and the application's."""
    authority(home, "ca")
    authority(home, "other")
    sign(home, "broker", "subjectAltName=DNS:localhost")
    sign(home, "app", "extendedKeyUsage=clientAuth")
    both = (home / "broker.key").read_text() + (home / "broker.crt").read_text()
    (home / "broker.pem").write_text(both)
    openssl(home, "pkcs8", "-topk8", "-in", "app.key", "-out", "locked.key", "-passout", "pass:key")


def authority(home: Path, name: str) -> None:
    openssl(
        home,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", f"/CN={name}", "-days", "2", "-keyout", f"{name}.key", "-out", f"{name}.crt"),
    )


def sign(home: Path, name: str, extension: str) -> None:
    (home / f"{name}.ext").write_text(extension + "\n")
    openssl(
        home,
        *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
        *("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr"),
    )
    openssl(
        home,
        *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-days", "2"),
        *("-CAcreateserial", "-extfile", f"{name}.ext", "-out", f"{name}.crt"),
    )


def openssl(home: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=home, check=True, capture_output=True, timeout=30)
