"""What a listener has against us, asked before any client is made: TLS, and the login.

The client library tells of a handshake or a login that failed in its log alone, tries again,
and says in the end that it found no broker. Here the first answer counts.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from typing import Any, Final

from kafka.net.sasl import get_sasl_mechanism  # type: ignore[import-untyped]

from stream.errors import BrokerError
from stream.kafka_settings import KafkaSettings
from stream.tls import how_to_mend, in_words

__all__ = ["greet"]

PROBE_S: Final = 3.0
LATE_S: Final = 0.2
"""In TLS 1.3 a broker tells only after the handshake that it misses a certificate."""

DEFAULT_PORT: Final = 9092
MAX_ANSWER: Final = 1 << 20
_HANDSHAKE, _AUTHENTICATE = 17, 36
_WHO: Final = "check kafka.sasl_username, kafka.sasl_password and kafka.sasl_mechanism"


def greet(settings: KafkaSettings, context: ssl.SSLContext | None) -> bool:
    """Shake hands with the first broker that takes us in.

    Returns
    -------
    bool
        False where none could be asked: whether one is there, the client will find out.

    Raises
    ------
    BrokerError
        Those that answered refused us.
    """
    refused: BrokerError | None = None
    for place in settings.bootstrap.split(","):
        host, port = _split(place.strip())
        try:
            with _connected(host, port, context) as stream:
                said = "" if settings.sasl_password is None else _log_in(stream, settings, host)
        except ssl.SSLError as error:
            refused = _refused(host, port, f"TLS: {in_words(error)}", how_to_mend(error))
        except (OSError, struct.error):
            continue
        else:
            if not said:
                return True
            refused = _refused(host, port, said, _WHO)
    if refused is not None:
        raise refused
    return False


def _refused(host: str, port: int, said: str, mend: str) -> BrokerError:
    return BrokerError(f"Kafka at {host}:{port} does not let us in: {said}", mend)


@contextlib.contextmanager
def _connected(host: str, port: int, context: ssl.SSLContext | None) -> Iterator[socket.socket]:
    with socket.create_connection((host, port), PROBE_S) as plain:
        if context is None:
            yield plain
            return
        with context.wrap_socket(plain, server_hostname=host) as secure:
            secure.settimeout(LATE_S)
            with contextlib.suppress(TimeoutError):
                secure.recv(1)
            secure.settimeout(PROBE_S)
            yield secure


def _log_in(stream: socket.socket, settings: KafkaSettings, host: str) -> str:
    """Return what the broker has against our login; nothing where it takes it."""
    name = str(settings.sasl_mechanism)
    answer = _ask(stream, _HANDSHAKE, 1, _text(name))
    error, count = struct.unpack_from(">hi", answer)
    if error:
        return f"it takes no {name}, but {', '.join(_names(answer[6:], count))}"
    password = settings.sasl_password.get_secret_value() if settings.sasl_password else ""
    mechanism: Any = get_sasl_mechanism(name)(
        host=host,
        sasl_mechanism=name,
        sasl_plain_username=settings.sasl_username,
        sasl_plain_password=password,
        security_protocol="SASL_SSL",
    )
    while not mechanism.is_done():
        token = mechanism.auth_bytes()
        answer = _ask(stream, _AUTHENTICATE, 0, struct.pack(">i", len(token)) + token)
        error, length = struct.unpack_from(">hh", answer)
        if error:
            said = answer[4 : 4 + max(length, 0)].decode("utf-8", "replace")
            return f"the login of {settings.sasl_username} failed: {said}"
        try:
            mechanism.receive(answer[4 + max(length, 0) + 4 :])
        except ValueError as wrong:
            return f"the broker does not know the password itself: {wrong}"
    return ""


def _ask(stream: socket.socket, kind: int, version: int, body: bytes) -> bytes:
    """Send a request and return its answer, without the correlation id."""
    request = struct.pack(">hhi", kind, version, 1) + _text("rillet") + body
    stream.sendall(struct.pack(">i", len(request)) + request)
    (size,) = struct.unpack(">i", _exactly(stream, 4))
    return _exactly(stream, min(size, MAX_ANSWER))[4:]


def _exactly(stream: socket.socket, size: int) -> bytes:
    found = b""
    while len(found) < size:
        some = stream.recv(size - len(found))
        if not some:
            raise ConnectionError("the broker closed the connection")
        found += some
    return found


def _text(text: str) -> bytes:
    raw = text.encode()
    return struct.pack(">h", len(raw)) + raw


def _names(raw: bytes, count: int) -> list[str]:
    names = []
    for _ in range(count):
        (length,) = struct.unpack_from(">h", raw)
        names.append(raw[2 : 2 + length].decode("utf-8", "replace"))
        raw = raw[2 + length :]
    return names


def _split(place: str) -> tuple[str, int]:
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal():
        return place, DEFAULT_PORT
    return host.strip("[]"), int(port)
