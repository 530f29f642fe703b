"""What stays of a user who was forgotten: a hash of his id, and up to when he is.

A forgotten user's state is empty but for its stamp and the time of the
forgetting. It is kept in two places: under his own key for an hour, so that a
consumer that lost its partition and does not know it yet cannot put an older
state there; and as a tombstone, whose key and value do not hold his id, for
long. The one can be restored from the other, so that the fold goes on as if
nothing had been taken away.
"""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from features.card import AsOf
from features.session import Session, decode_session, new_session

__all__ = [
    "SHELL_MS",
    "Tombstone",
    "decode_tombstone",
    "encode_tombstone",
    "is_shell",
    "life_of",
    "state_of",
    "unstamped",
]

SHELL_MS: Final = 3_600_000
"""How long an emptied state stays under the user's own key: longer than any consumer is paused."""


class Tombstone(Struct, frozen=True, omit_defaults=True):
    """Stamp of the event by which the user was forgotten, and the time up to which he is.

    ``found`` says that nothing was to be forgotten: a visitor was found to be somebody, to
    whom his state went.
    """

    as_of: AsOf
    forgotten: int
    found: bool = False


_DECODER: Final = msgspec.json.Decoder(Tombstone)


def is_shell(session: Session) -> bool:
    """Tell whether nothing is known of a user but that he was forgotten, or handed over."""
    return session.events == 0 and session.forgotten > 0


def life_of(session: Session, ttl_ms: int) -> int:
    """Return how long what lies under a user's own id may live, in milliseconds."""
    return SHELL_MS if is_shell(session) else ttl_ms


def encode_tombstone(session: Session, *, found: bool = False) -> bytes:
    """Write what stays of a user at the moment in which he is forgotten, or is found.

    What he does afterwards, in the same batch even, does not touch it.

    Examples
    --------
    >>> encode_tombstone(Session(as_of=AsOf(0, 7, 1000), user="alice", forgotten=900))
    b'{"as_of":{"partition":0,"offset":7,"event_time":1000},"forgotten":900}'
    """
    return msgspec.json.encode(Tombstone(session.as_of, session.forgotten, found))


def decode_tombstone(raw: bytes) -> Tombstone:
    """Read a tombstone; raises msgspec.MsgspecError where it is none."""
    return _DECODER.decode(raw)


def state_of(user: str, raw: bytes | None, stone: bytes | None) -> Session:
    """Return a user's state by what is kept of him: a state, a tombstone, both or nothing.

    A state that knows nothing of the forgetting was written by a consumer that
    came too late: the tombstone counts.
    """
    session = decode_session(raw) if raw else None
    if stone is not None:
        tombstone = decode_tombstone(stone)
        if session is None or session.forgotten < tombstone.forgotten:
            return Session(as_of=tombstone.as_of, user=user, forgotten=tombstone.forgotten)
    return session or new_session(user)


def unstamped(stone: bytes) -> bytes | None:
    """Return a tombstone for another stream of the same users, whose offsets begin anew.

    None of who was only found to be somebody: that stream says so again.
    """
    kept = decode_tombstone(stone)
    if kept.found:
        return None
    as_of = AsOf(-1, -1, kept.as_of.event_time)
    return msgspec.json.encode(Tombstone(as_of, kept.forgotten))
