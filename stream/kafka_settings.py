"""Settings of Kafka: where it is, who we are to it, what the topics are called."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field as Setting
from pydantic import SecretStr, model_validator

from stream.setting_group import Group

__all__ = ["KafkaSettings"]


class KafkaSettings(Group):
    """Where Kafka is, who we are to it, and what the topics are called."""

    bootstrap: str = Setting("127.0.0.1:9092", description="host:port, several by comma")
    events: str = Setting("rillet.events", description="topic of what users do, keyed by user")
    catalogue: str = Setting("rillet.catalogue", description="topic of items, keyed by item")
    transitions: str = Setting("rillet.transitions", description="topic between consumers")
    deadletters: str = Setting("rillet.deadletters", description="topic of bad records")
    partitions: int = Setting(4, ge=1, description="partitions of topics that `init` creates")
    replication: int = Setting(1, ge=1, description="replicas of topics that `init` creates")
    group: str = Setting("rillet", description="prefix of the consumer groups' names")
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Setting(
        "PLAINTEXT", description="what the listener at `bootstrap` speaks"
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Setting(
        None, description="how the password is shown; SCRAM never sends it"
    )
    sasl_username: str | None = None
    sasl_password: SecretStr | None = Setting(
        None, description="best kept out of files: RILLET_KAFKA__SASL_PASSWORD"
    )
    ssl_cafile: str | None = Setting(
        None, description="PEM file of who may sign the brokers' certificates; else the system's"
    )
    ssl_certfile: str | None = Setting(
        None, description="PEM file of our own certificate, where brokers ask for one"
    )
    ssl_keyfile: str | None = Setting(
        None, description="PEM file of its key, where `ssl_certfile` has it not"
    )
    ssl_password: SecretStr | None = Setting(None, description="of the key, where it has one")
    ssl_check_hostname: bool = Setting(
        True, description="whether a broker's certificate must name the host that was asked"
    )
    linger_ms: int = Setting(2, ge=0, description="how long a record waits for company")
    compression: Literal["lz4", "gzip", "zstd", "snappy", "none"] = "lz4"
    max_record_bytes: int = Setting(
        1_048_576, ge=1024, description="longer records are not sent; a broker has its own limit"
    )
    assignment: Literal["cooperative-sticky", "range"] = Setting(
        "cooperative-sticky",
        description="how a group shares out partitions; the default lets each keep what it can",
    )
    timeout_s: float = Setting(30, ge=1, description="after which a broker counts as absent")
    session_s: float = Setting(
        45, ge=6, description="silence after which the group gives a consumer's share away"
    )

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Refuse a password that would not be used, and a login without one."""
        sasl = ("sasl_mechanism", "sasl_username", "sasl_password")
        given = [name for name in sasl if getattr(self, name)]
        protocol = self.security_protocol
        if protocol.startswith("SASL") and len(given) < len(sasl):
            missing = " and ".join(f"kafka.{name}" for name in sasl if name not in given)
            raise ValueError(f"kafka.security_protocol is {protocol}: set {missing} too")
        if given and not protocol.startswith("SASL"):
            raise ValueError(
                f"kafka.{given[0]} is set, but not used: kafka.security_protocol is {protocol}"
            )
        if self.ssl_keyfile and not self.ssl_certfile:
            raise ValueError("kafka.ssl_keyfile is a certificate's key: set kafka.ssl_certfile")
        return self
