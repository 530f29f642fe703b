"""How every client of Kafka is made, how members share, and what the library's errors become.

What the client library raises is turned into our own errors here, at one border. They name
settings, topics, and the right that is missing; never a password.
"""

from __future__ import annotations

import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from typing import Any, Final, TypeVar

import kafka.errors as kafka_errors  # type: ignore[import-untyped]
from kafka.admin import KafkaAdminClient  # type: ignore[import-untyped]
from kafka.coordinator.assignors.cooperative_sticky import (  # type: ignore[import-untyped]
    CooperativeStickyAssignor,
)
from kafka.coordinator.assignors.range import RangePartitionAssignor  # type: ignore[import-untyped]

from stream.errors import BrokerError, NotReadyError
from stream.kafka_greeting import greet
from stream.kafka_settings import KafkaSettings
from stream.tls import tls_context

__all__ = [
    "DENIED",
    "FOREIGN",
    "SHARING",
    "CooperativeSticky",
    "admin",
    "connection",
    "denied",
    "explained",
    "mend",
    "ours",
    "waiting",
    "when_settled",
]

T = TypeVar("T")

log = logging.getLogger(__name__)

SILENT_S: Final = 3.0
"""How long nothing is said of a Kafka that does not answer."""

FOREIGN: Final = (kafka_errors.KafkaError, AssertionError, ValueError)
"""What kafka-python raises; its checks of arguments and settings are the last two."""

DENIED: Final = kafka_errors.TopicAuthorizationFailedError.errno
"""What the brokers say of a topic that we may not even know of."""

_SETTLING: Final = (
    kafka_errors.CoordinatorNotAvailableError,
    kafka_errors.CoordinatorLoadInProgressError,
    kafka_errors.NotCoordinatorError,
)
"""What a Kafka that has just started answers, until its own topics are there."""

_WHO: Final = (
    kafka_errors.SaslAuthenticationFailedError,
    kafka_errors.UnsupportedSaslMechanismError,
    kafka_errors.IllegalSaslStateError,
)
"""Kafka does not take us for whom we say we are."""

_GROUP: Final = re.compile(r"GROUP/(\S+):|^(\S+)$")
"""The group's name, in a sentence about its coordinator or alone."""

_GUIDE: Final = "docs/security-kafka.md lists what each role needs"


_taken_in: Final[set[KafkaSettings]] = set()
"""With these settings a broker let us in: a process asks once."""


class _Hidden(str):
    """A password that the library, which logs its whole configuration, does not get to show."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'**********'"


class _NoLogins(logging.Filter):
    """Keeps logins out of the library's log, which shows every request, and again as bytes."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a line may be logged."""
        if "Send: " in str(record.msg):
            return False
        return not any(type(one).__name__.startswith("Sasl") for one in record.args or ())


for _name in ("kafka.net.connection", "kafka.protocol.parser"):
    logging.getLogger(_name).addFilter(_NoLogins())


def connection(settings: KafkaSettings) -> dict[str, Any]:
    """Return what every client of the library is told.

    Raises
    ------
    SettingsError
        A certificate or a key cannot be read.
    BrokerError
        The brokers do not take us in. The library itself would tell that to its log alone,
        and try again until it says that no broker is there.
    """
    context, password = tls_context(settings), settings.sasl_password
    guarded = context is not None or password is not None
    if guarded and settings not in _taken_in and greet(settings, context):
        _taken_in.add(settings)
    options: dict[str, Any] = {
        "bootstrap_servers": [host.strip() for host in settings.bootstrap.split(",")],
        "bootstrap_timeout_ms": int(settings.timeout_s * 1000),
        "client_id": settings.group,
        "security_protocol": settings.security_protocol,
        "sasl_mechanism": settings.sasl_mechanism,
        "sasl_plain_username": settings.sasl_username,
        "sasl_plain_password": _Hidden(password.get_secret_value()) if password else None,
        "ssl_context": context,
    }
    return {name: value for name, value in options.items() if value is not None}


@contextlib.contextmanager
def explained(settings: KafkaSettings, what: str, right: str = "Describe") -> Iterator[None]:
    """Turn the client's errors into ours.

    Parameters
    ----------
    settings
        Where Kafka is.
    what
        What was to be done, after "cannot".
    right
        Kafka's name of the operation that this needs.
    """
    try:
        yield
    except FOREIGN as error:
        raise ours(settings, what, error, right) from error


def ours(
    settings: KafkaSettings, what: str, error: Exception, right: str = "Describe"
) -> BrokerError:
    """Return our error for one of the client library's."""
    said, advice = _words(error), mend(error)
    if isinstance(error, kafka_errors.AuthorizationError):
        said, advice = _denied(settings, error, right)
    message = f"cannot {what} at Kafka {settings.bootstrap}: {said}"[:600]
    if isinstance(error, _SETTLING):
        return NotReadyError(message, "Kafka has just started: try again in a moment")
    return BrokerError(message, advice)


def denied(topics: AbstractSet[str]) -> Exception:
    """Return the client library's error for topics that the ACLs keep from us."""
    error: Exception = kafka_errors.TopicAuthorizationFailedError(topics)
    return error


def _denied(settings: KafkaSettings, error: Exception, right: str) -> tuple[str, str]:
    """Return what the ACLs lack, and the grant that mends it."""
    who = f"User:{settings.sasl_username}" if settings.sasl_username else "this client"
    on = _resource(error)
    needs = f"{who} needs the operation {right} on {on}"
    return f"{type(error).__name__}: {needs}", f"grant {right} on {on} to {who}; {_GUIDE}"


def _resource(error: Exception) -> str:
    """Return what the ACLs protect, by name where the client was told it."""
    named = error.args[0] if error.args else None
    if isinstance(error, kafka_errors.GroupAuthorizationFailedError):
        found = _GROUP.search(str(named))
        return f"the group {found[1] or found[2]}" if found else "the group"
    if isinstance(error, kafka_errors.ClusterAuthorizationFailedError):
        return "the cluster"
    if isinstance(named, (set, frozenset, list, tuple)):
        return f"the topic {', '.join(sorted(map(str, named)))}"
    return f"the topic {named}" if isinstance(named, str) and " " not in named else "the topic"


def _words(error: Exception) -> str:
    """Name an error once: kafka-python's own texts begin with the name, or are nothing else."""
    name, text = type(error).__name__, str(error)
    said = text.removeprefix(name).removeprefix(": ")
    if isinstance(error, kafka_errors.KafkaTimeoutError) and said in ("", "None"):
        return f"{name}: no answer in time"
    return text if name in text else f"{name}: {text}"


def mend(error: Exception) -> str:
    """Return what to do about one of the client library's errors."""
    if isinstance(error, kafka_errors.UnknownTopicOrPartitionError):
        return "`rillet init --topics` makes the topics"
    if isinstance(error, _WHO):
        return "check kafka.sasl_username, kafka.sasl_password and kafka.sasl_mechanism"
    if isinstance(error, kafka_errors.MessageSizeTooLargeError):
        return "raise kafka.max_record_bytes, and max.message.bytes of the topic"
    if "update metadata" in str(error):
        return "start Kafka, or set kafka.bootstrap; `rillet init --topics` makes the topics"
    return "start Kafka, or set kafka.bootstrap and kafka.security_protocol"


def when_settled(ask: Callable[[], T], within_s: float = 15.0) -> T:
    """Ask until Kafka, which may have just started, has its own topics in place.

    Raises
    ------
    NotReadyError
        It has not within that time.
    """
    until = time.monotonic() + within_s
    while True:
        try:
            return ask()
        except NotReadyError:
            if time.monotonic() > until:
                raise
        time.sleep(0.2)


@contextlib.contextmanager
def waiting(settings: KafkaSettings) -> Iterator[None]:
    """Say that Kafka is waited for where a connection takes longer than people are patient."""
    if settings.timeout_s <= SILENT_S:
        yield
        return
    said = "Kafka at %s does not answer yet; waiting for it, %g seconds at the most"
    timer = threading.Timer(
        SILENT_S, log.warning, (said, settings.bootstrap, settings.timeout_s - SILENT_S)
    )
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def admin(settings: KafkaSettings, what: str, right: str = "Describe") -> Iterator[Any]:
    """Lend an admin client; its errors come out as ours, saying ``what`` failed."""
    with explained(settings, what, right):
        with waiting(settings):
            client = KafkaAdminClient(**connection(settings))
        try:
            yield client
        finally:
            client.close()


class CooperativeSticky(CooperativeStickyAssignor):  # type: ignore[misc]
    """kafka-python's, but what was lost is not claimed any more.

    A member that slept through its session has lost all, and joins as a new one. The
    library's assignor then still names what it had before as its own; the leader waits for
    it to give up what others are to get, which it does not have: nobody reads these
    partitions until the group is shared out again, whenever that is (kafka-python 3.0.12).
    """

    def forget(self) -> None:
        """Take note that all was lost."""
        self.member_assignment: Any = None


SHARING: Final[dict[str, Callable[[], Any]]] = {
    "cooperative-sticky": CooperativeSticky,
    "range": RangePartitionAssignor,
}
"""What `kafka.assignment` may name; each consumer has one of its own."""
