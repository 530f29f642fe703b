"""TLS to Kafka: one context from the settings, and in words what a handshake fails at."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import TypeGuard

from stream.errors import SettingsError
from stream.kafka_settings import KafkaSettings

__all__ = ["how_to_mend", "in_words", "tls_context"]


def tls_context(settings: KafkaSettings) -> ssl.SSLContext | None:
    """Return how to speak TLS, None where the settings ask for none.

    Raises
    ------
    SettingsError
        A file is missing, is no PEM, or its key needs another password.
    """
    if "SSL" not in settings.security_protocol:
        return None
    context = ssl.create_default_context()  # TLS 1.2 or newer, the system's authorities
    if settings.ssl_cafile:
        context = ssl.create_default_context(cafile=_there("ssl_cafile", settings.ssl_cafile))
    context.check_hostname = settings.ssl_check_hostname
    if settings.ssl_certfile:
        _show_ourselves(context, settings)
    return context


def _show_ourselves(context: ssl.SSLContext, settings: KafkaSettings) -> None:
    """Load our own certificate; without a password nobody is asked for one at a terminal."""
    certificate = _there("ssl_certfile", str(settings.ssl_certfile))
    key = _there("ssl_keyfile", settings.ssl_keyfile) if settings.ssl_keyfile else None
    password = settings.ssl_password.get_secret_value() if settings.ssl_password else ""
    try:
        context.load_cert_chain(certificate, key, password)
    except (OSError, ValueError) as error:
        # OpenSSL says as good as nothing of a password that is wrong or missing.
        said = error.reason.lower().replace("_", " ") if _tells(error) else "its key cannot be read"
        message = f"kafka.ssl_certfile {certificate} cannot be used: {said}"
        mend = "is the key its own (kafka.ssl_keyfile)? does kafka.ssl_password open it?"
        raise SettingsError(message, mend) from None


def _tells(error: Exception) -> TypeGuard[ssl.SSLError]:
    return isinstance(error, ssl.SSLError) and error.reason not in (None, "PEM lib", "PEM_LIB")


def _there(name: str, path: str) -> str:
    """Return the path of a PEM file that can be read."""
    try:
        begins = Path(path).expanduser().read_bytes()
    except OSError as error:
        message = f"kafka.{name} {path} cannot be read: {error.strerror}"
        raise SettingsError(message, "check the path, and who may read it") from error
    if b"-----BEGIN " not in begins:
        raise SettingsError(f"kafka.{name} {path} is no PEM file", "openssl can convert it")
    return str(Path(path).expanduser())


def in_words(error: Exception) -> str:
    """Return what a handshake failed at, without OpenSSL's source lines."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the broker's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.replace("_", " ").lower()
    return "the handshake failed" if isinstance(error, ssl.SSLError) else str(error)


def how_to_mend(error: ssl.SSLError) -> str:
    """Return which setting to look at after a handshake that failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if "ostname" in error.verify_message or "IP address" in error.verify_message:
            return "put a name into kafka.bootstrap that the certificate has"
        return "set kafka.ssl_cafile to who signed the brokers' certificates"
    if "CERTIFICATE" in (error.reason or ""):
        return "the broker asks for a certificate: set kafka.ssl_certfile and kafka.ssl_keyfile"
    return "does that listener speak TLS? check kafka.security_protocol and kafka.bootstrap"
