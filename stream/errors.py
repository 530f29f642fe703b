"""Every error Rillet raises on purpose, in one tree.

::

    RilletError
    ├── SettingsError        a settings file or variable is wrong
    ├── LogError             an event log or import source cannot be read
    ├── BrokerError          Kafka is absent, refuses, or lacks a topic
    │   ├── NotReadyError    Kafka has just started; asking again will do
    │   └── NotTakenError    Kafka refuses some records, and has all others
    ├── StoreError           Redis is absent or refuses
    ├── FolderError          a folder of files cannot be reached or refuses
    ├── CheckpointError      positions that would lose or repeat records
    ├── EncoderError         the text encoder cannot be loaded or run
    ├── ModelError           a model or a learner's checkpoint is damaged, missing or unfit
    ├── BusyError            another process does the same work
    ├── ChildFailedError     a consumer process died again and again
    ├── BadEventError        what was to be published is no event
    ├── NothingYetError      there is no list to read yet
    ├── RefusedError         a request over HTTP is not answered as it wished
    └── StoppedError         what a thread did is not waited for any more

A record that cannot be decoded is not an error but a value: see
:class:`stream.events.BadRecord`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "BadEventError",
    "BrokerError",
    "BusyError",
    "CheckpointError",
    "ChildFailedError",
    "EncoderError",
    "LogError",
    "ModelError",
    "NotReadyError",
    "NotTakenError",
    "NothingYetError",
    "RefusedError",
    "RilletError",
    "SettingsError",
    "StoppedError",
    "StoreError",
]


class RilletError(Exception):
    """Root of the tree; catch it to catch everything Rillet raises.

    Parameters
    ----------
    message
        What is wrong.
    mend
        What to do about it; shown on a line of its own by the command line.
    """

    def __init__(self, message: str, mend: str = "") -> None:
        super().__init__(message)
        self.mend = mend


class SettingsError(RilletError):
    """A setting is unknown, malformed or contradicts another one."""


class LogError(RilletError):
    """An event log or an import source cannot be read."""


class BrokerError(RilletError):
    """Kafka cannot be reached, refuses a request, or lacks a topic."""


class NotReadyError(BrokerError):
    """Kafka is there and cannot answer yet: it is still looking for a group's coordinator."""


class NotTakenError(BrokerError):
    """Kafka takes records, but not these: they are too long, or their topic is kept from us.

    Parameters
    ----------
    message, mend
        What is wrong with the first, and what to do about it.
    records
        These, the objects that were sent, in the order in which they failed; where a broker
        refused the first, the others may have failed with it. What else was sent is stored.
    """

    def __init__(self, message: str, mend: str = "", records: Sequence[Any] = ()) -> None:
        super().__init__(message, mend)
        self.records = records


class StoreError(RilletError):
    """Redis cannot be reached or refuses a command."""


class FolderError(RilletError):
    """A folder of files, local or remote, cannot be reached or refuses."""


class CheckpointError(RilletError):
    """Positions do not grow, or a commit was refused."""


class EncoderError(RilletError):
    """The text encoder cannot be loaded or run."""


class ModelError(RilletError):
    """A model, or a learner's checkpoint, is damaged, missing or does not fit."""


class BusyError(RilletError):
    """Another process does what only one at a time may do."""


class ChildFailedError(RilletError):
    """A child died again and again."""


class BadEventError(RilletError):
    """What was to be published is no event; nothing of it was sent.

    Parameters
    ----------
    message, mend
        What is wrong, and what to do about it.
    faults
        Of each bad record its place (``record``), ``field`` and ``message``, where several came.
    """

    def __init__(
        self, message: str, mend: str = "", faults: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        super().__init__(message, mend)
        self.faults = faults


class NothingYetError(RilletError):
    """There is no list yet, not even the one for unknown users."""


class StoppedError(RilletError):
    """The process ends: nobody waits any more for what a thread did."""


class RefusedError(RilletError):
    """A request over HTTP is not answered as it wished; becomes a problem (RFC 9457).

    Parameters
    ----------
    status
        The HTTP status.
    kind
        What kind of problem it is, in one word for programs.
    message, mend
        What is wrong, and what to do about it.
    wait_s
        Seconds after which trying again may help; 0 where it will not.
    """

    def __init__(
        self, status: int, kind: str, message: str, mend: str = "", *, wait_s: float = 0
    ) -> None:
        super().__init__(message, mend)
        self.status, self.kind, self.wait_s = status, kind, wait_s
