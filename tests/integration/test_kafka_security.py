"""Rillet and a Kafka that asks for a login: what each role can do, and what it is told else."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from stream.errors import BrokerError, RilletError, SettingsError
from stream.kafka import KafkaSink, KafkaSource
from stream.records import Outgoing, Record
from stream.settings import KafkaSettings, load_settings
from stream.store import Store
from stream.topics import HIDDEN, describe, ensure_topics, group_lag
from tests.integration.live import Start, eventually
from tests.integration.secure_kafka import SecureKafka, grants, running

EVENTS = "rillet.events"
WRONG = "a-wrong-password"


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureKafka]:
    with running(tmp_path_factory.mktemp("secure")) as kafka:
        states = ensure_topics(kafka.settings("operator"))
        assert {state.note for state in states} == {"created"}
        yield kafka


def publish(settings: KafkaSettings, topic: str = EVENTS) -> None:
    sink = KafkaSink(settings)
    try:
        sink.send(Outgoing(topic, b'{"event":"search"}', b"key"))
        sink.flush(20)
    finally:
        sink.close()


def read(settings: KafkaSettings, topic: str = EVENTS, group: str = "rillet.test") -> Record:
    source = KafkaSource(settings, [topic], group)
    source.listen(source.resume, lambda places: None)
    try:
        found = eventually(lambda: source.poll(1, 500), lambda: "nothing came")
    finally:
        source.close()
    record: Record = found[0]
    return record


def refused(what: Callable[..., Any], *arguments: Any) -> RilletError:
    with pytest.raises(RilletError) as caught:
        what(*arguments)
    return caught.value


def test_the_documentation_lists_every_role() -> None:
    assert {grant.role for grant in grants()} == {"app", "consumer", "operator"}


def test_what_the_application_publishes_the_consumer_reads(secure: SecureKafka) -> None:
    publish(secure.settings("app"))
    assert read(secure.settings("consumer")).key == b"key"
    publish(secure.settings("consumer"), "rillet.deadletters")
    lags = group_lag(secure.settings("operator"), "rillet.test", [EVENTS])
    assert sum(lag.end for lag in lags) >= 1


def test_a_consumer_works_with_the_rights_that_are_documented(
    secure: SecureKafka, variables: dict[str, str], start: Start, store: Store
) -> None:
    ours = {name: value for name, value in variables.items() if "KAFKA" not in name}
    variables.clear()
    variables.update(ours | as_variables(secure.settings("consumer")))
    personalize = start("consume", "personalize", "-vv")
    event = (
        b'{"event":"interaction","type":"click","timestamp":1795545000000,"user":"u","item":"i"}'
    )
    sink = KafkaSink(secure.settings("app"))
    sink.send(Outgoing(EVENTS, event, b"u"))
    sink.flush()
    sink.close()
    eventually(lambda: store.get(store.keys.session("u")), personalize.said)
    beats = eventually(lambda: list(store.scan("process")), personalize.said)
    command = Path(f"/proc/{personalize.process.pid}/cmdline").read_text()
    assert personalize.end() == 0
    shown = f"{beats} {command} {personalize.said()}"
    assert secure.passwords["consumer"] not in shown
    assert "KafkaSSLTransport" in shown, "the library was to say all that it can"


def as_variables(settings: KafkaSettings) -> dict[str, str]:
    given = settings.model_dump(exclude_defaults=True)
    password = settings.sasl_password
    given["sasl_password"] = password.get_secret_value() if password else ""
    return {f"RILLET_KAFKA__{name.upper()}": str(value) for name, value in given.items()}


@pytest.mark.parametrize(
    ("user", "topic"), [("app", "rillet.deadletters"), ("operator", EVENTS), ("nobody", EVENTS)]
)
def test_whoever_may_not_write_is_told_the_topic_and_the_operation(
    secure: SecureKafka, user: str, topic: str
) -> None:
    error = refused(publish, secure.settings(user), topic)
    assert f"User:{user} needs the operation Write on the topic {topic}" in str(error)
    assert f"grant Write on the topic {topic} to User:{user}" in getattr(error, "mend", "")


def test_whoever_may_not_read_is_told_the_topic_and_the_operation(secure: SecureKafka) -> None:
    publish(secure.settings("consumer"), "rillet.deadletters")
    for user, topic in [("consumer", "rillet.deadletters"), ("nobody", EVENTS)]:
        error = refused(read, secure.settings(user), topic)
        assert f"User:{user} needs the operation Read on the topic {topic}" in str(error)


@pytest.mark.parametrize(("user", "group"), [("app", "rillet.test"), ("consumer", "another")])
def test_a_group_that_is_not_ones_own_is_named(secure: SecureKafka, user: str, group: str) -> None:
    error = refused(read, secure.settings(user), EVENTS, group)
    assert f"User:{user} needs the operation Read on the group {group}" in str(error)
    asked = refused(group_lag, secure.settings("nobody"), group, [EVENTS])
    assert f"User:nobody needs the operation Describe on the group {group}" in str(asked)


def test_topics_that_the_acls_hide_are_not_called_missing(secure: SecureKafka) -> None:
    seen = {state.name: state.note for state in describe(secure.settings("app")).topics}
    assert seen == {
        EVENTS: "",
        "rillet.catalogue": "",
        "rillet.transitions": HIDDEN,
        "rillet.deadletters": HIDDEN,
    }
    error = refused(ensure_topics, secure.settings("nobody"))
    assert "User:nobody needs the operation Create on the topic rillet.catalogue, " in str(error)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_a_wrong_password_is_told_at_once_and_not_said(secure: SecureKafka, mechanism: str) -> None:
    changes = {"sasl_mechanism": mechanism, "sasl_password": SecretStr(WRONG)}
    settings = secure.settings("app", **changes, timeout_s=600)
    for connect in (KafkaSink, describe, lambda one: KafkaSource(one, [EVENTS], "rillet.test")):
        error = refused(connect, settings)
        assert isinstance(error, BrokerError)
        assert "the login of app failed" in str(error)
        assert "kafka.sasl_password" in error.mend
        assert WRONG not in f"{error}{error.mend}{error.__cause__!r}{error.__context__!r}"


def test_a_mechanism_that_the_broker_has_not_is_named_with_those_it_has(
    secure: SecureKafka,
) -> None:
    error = refused(KafkaSink, secure.settings("app", sasl_mechanism="SCRAM-SHA-256"))
    assert "it takes no SCRAM-SHA-256, but " in str(error)
    assert "SCRAM-SHA-512" in str(error)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-512", "PLAIN"])
def test_no_log_tells_a_password_however_much_it_says(secure: SecureKafka, mechanism: str) -> None:
    password = secure.passwords["plain app" if mechanism == "PLAIN" else "app"]
    changes = {"sasl_mechanism": mechanism, "sasl_password": SecretStr(password)}
    said, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(said), root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        publish(secure.settings("app", **changes))
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert "MetadataRequest" in said.getvalue()
    assert password not in said.getvalue()
    assert "SaslAuthenticate" not in said.getvalue()


def test_a_certificate_takes_the_place_of_a_login(secure: SecureKafka) -> None:
    publish(secure.by_certificate())
    locked = {"ssl_keyfile": str(secure.home / "locked.key"), "ssl_password": SecretStr("key")}
    publish(secure.by_certificate(**locked))
    error = refused(KafkaSink, secure.by_certificate(ssl_certfile=None, ssl_keyfile=None))
    assert "set kafka.ssl_certfile and kafka.ssl_keyfile" in getattr(error, "mend", "")


def test_a_broker_that_nobody_vouches_for_is_not_spoken_to(secure: SecureKafka) -> None:
    stranger = str(secure.home / "other.crt")
    error = refused(KafkaSink, secure.settings("app", ssl_cafile=stranger))
    assert "certificate is not accepted" in str(error)
    assert "kafka.ssl_cafile" in getattr(error, "mend", "")


def test_a_certificate_must_name_the_host_unless_that_is_waived(secure: SecureKafka) -> None:
    other_name = {"bootstrap": f"127.0.0.1:{secure.scram}"}
    error = refused(KafkaSink, secure.settings("app", **other_name))
    assert "mismatch" in str(error)
    assert "kafka.bootstrap" in getattr(error, "mend", "")
    publish(secure.settings("app", **other_name, ssl_check_hostname=False))


def test_a_listener_without_tls_is_told_from_one_that_is_away(secure: SecureKafka) -> None:
    plain = KafkaSettings(bootstrap=f"localhost:{secure.inside}", security_protocol="SSL")
    assert "kafka.security_protocol" in getattr(refused(KafkaSink, plain), "mend", "")


def test_files_that_cannot_be_used_are_told_before_anything_is_connected(
    secure: SecureKafka, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    wrong_key = {"ssl_keyfile": str(secure.home / "broker.key")}
    locked = {"ssl_keyfile": str(secure.home / "locked.key"), "ssl_password": SecretStr(WRONG)}
    for settings, says in [
        (secure.settings("app", ssl_cafile="/not/there"), "ssl_cafile /not/there cannot be read"),
        (secure.settings("app", ssl_cafile=str(empty)), "is no PEM file"),
        (secure.by_certificate(**wrong_key), "key values mismatch"),
        (secure.by_certificate(**locked), "its key cannot be read"),
    ]:
        error = refused(KafkaSink, settings)
        assert isinstance(error, SettingsError)
        assert says in str(error)
        assert WRONG not in str(error)


def test_settings_that_do_not_fit_together_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RILLET_KAFKA__SASL_PASSWORD", WRONG)
    with pytest.raises(SettingsError, match="kafka.sasl_password is set, but not used") as caught:
        load_settings()
    assert WRONG not in f"{caught.value}{caught.value.__cause__}"
    monkeypatch.setenv("RILLET_KAFKA__SECURITY_PROTOCOL", "SASL_SSL")
    with pytest.raises(SettingsError, match="set kafka.sasl_mechanism and kafka.sasl_username too"):
        load_settings()
