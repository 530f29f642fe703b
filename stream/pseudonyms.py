"""Pseudonyms: users' ids keyed by a secret at the border, so that nothing behind it holds one.

The border is where records are published (:func:`stream.routing.outgoing`): what
Kafka, Redis, the archive and the models see are pseudonyms, no consumer needs the
secret, and Kafka's key, which decides the partition, is the pseudonym too. Whoever
reads maps the id in the same way.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from stream.errors import SettingsError
from stream.events import Event
from stream.privacy_settings import PrivacySettings

__all__ = ["Pseudonyms", "pseudonyms_of"]

LEAST: Final = 16
"""Characters of the shortest secret that is taken."""

NAMES: Final = ("user", "session", "anonymous")
"""Fields of events that name a person."""

_SHAPE: Final = re.compile(r"~([0-9a-f]{8})\.[A-Za-z0-9_-]{43}")
E_ = TypeVar("E_", bound=Event)


class _Key:
    """One secret, and the short name by which its pseudonyms are told from others."""

    def __init__(self, secret: str, setting: str) -> None:
        if len(secret) < LEAST:
            mend = "`rillet privacy key` makes one"
            raise SettingsError(f"{setting} has fewer than {LEAST} characters", mend)
        self._secret = secret.encode()
        label = hmac.new(self._secret, b"rillet key id", hashlib.sha256)
        self.id = label.hexdigest()[:8]

    def of(self, name: str) -> str:
        text = name.encode("utf-8", "surrogatepass")
        digest = hmac.new(self._secret, text, hashlib.sha256).digest()
        return f"~{self.id}.{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


class Pseudonyms:
    """Maps ids by the secrets of the settings; without one every id stays as it is.

    Parameters
    ----------
    settings
        The secret, and while it is being changed the one before.

    Raises
    ------
    SettingsError
        A secret is too short, or both are the same.

    Examples
    --------
    >>> Pseudonyms(PrivacySettings(key="a secret of your own")).of("alice")
    '~c86c5e9f.eGyyaXY1J9iwh1OnO6cLcv25KGvQsa0S1pjzy7mHuqU'
    >>> Pseudonyms(PrivacySettings()).of("alice")
    'alice'
    """

    def __init__(self, settings: PrivacySettings) -> None:
        found = (("privacy.key", settings.key), ("privacy.old_key", settings.old_key))
        self._keys = [_Key(one.get_secret_value(), name) for name, one in found if one is not None]
        if settings.old_key is not None and settings.key is None:
            raise SettingsError("privacy.old_key is set, and privacy.key is not", "set both")
        if len({key.id for key in self._keys}) < len(self._keys):
            raise SettingsError("privacy.key and privacy.old_key are the same", "unset the old one")
        self._known = {key.id for key in self._keys}

    @property
    def active(self) -> bool:
        """Whether ids are mapped at all."""
        return bool(self._keys)

    def of(self, name: str) -> str:
        """Return an id's pseudonym; one of a known secret is its own."""
        if not self._keys or self.is_one(name):
            return name
        return self._keys[0].of(name)

    def all_of(self, name: str) -> list[str]:
        """Return the pseudonyms under which somebody may be known, the present one first."""
        if not self._keys or self.is_one(name):
            return [name]
        return [key.of(name) for key in self._keys]

    def is_one(self, name: str) -> bool:
        """Tell whether this is a pseudonym by one of the secrets already."""
        found = _SHAPE.fullmatch(name)
        return found is not None and found[1] in self._known

    def event(self, event: E_) -> E_:
        """Return an event that names persons by their pseudonyms."""
        given = ((name, getattr(event, name, None)) for name in NAMES)
        mapped = {name: self.of(value) for name, value in given if value}
        return msgspec.structs.replace(event, **mapped) if mapped else event


@lru_cache(8)
def pseudonyms_of(settings: PrivacySettings) -> Pseudonyms:
    """Return the pseudonyms of these settings, made once."""
    return Pseudonyms(settings)
