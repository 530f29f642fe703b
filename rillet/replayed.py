"""Publishing dead letters again, each once."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from stream.letters import Letter, still_bad
from stream.records import Outgoing, Sink
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain

__all__ = ["Replayed", "replay_letters"]

AT_ONCE: Final = 500
SENDING: Final = b"sending"
SENT: Final = b"sent"


@dataclass(slots=True)
class Replayed:
    """What became of the letters.

    Attributes
    ----------
    sent
        Published again; of a dry run: would be.
    before
        Passed over, for they were published again before.
    doubtful
        Passed over, for a run that ended in the middle may have published them.
    passed
        Why -> how many were passed over because they would be set aside again.
    """

    sent: int = 0
    before: int = 0
    doubtful: int = 0
    passed: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return dataclasses.asdict(self)


def replay_letters(
    letters: Iterable[Letter],
    settings: Settings,
    store: Store,
    sink: Sink | None,
    *,
    force: bool = False,
    again: bool = False,
) -> Replayed:
    """Publish letters again to where they came from.

    A letter is noted in Redis before it is sent and after Kafka has it; so one that a
    crash leaves between the two is not sent again unasked.

    Parameters
    ----------
    letters
        Which ones.
    settings, store
        What counts as bad now, and where is noted what was sent.
    sink
        Takes them; None only counts.
    force
        Send what would be set aside again too, but nothing of which only a part was kept.
    again
        Send what was sent before too.

    Raises
    ------
    BrokerError, StoreError
        Kafka or Redis is away or refuses.
    """
    done, now = Replayed(), time.time_ns() // 1_000_000
    for some in _chunks(letters):
        keys = [store.keys.replayed(letter.name) for letter in some]
        chosen: dict[str, Letter] = {}
        for key, letter, state in zip(keys, some, store.get_many(keys), strict=True):
            whole = letter.source.topic and not letter.length
            why = "" if force and whole else still_bad(letter, settings, now)
            if (state is not None and not again) or key in chosen:
                done.doubtful += state == SENDING
                done.before += state != SENDING
            elif why:
                done.passed[why] = done.passed.get(why, 0) + 1
            else:
                chosen[key] = letter
        done.sent += len(chosen)
        if sink is not None and chosen:
            _send(chosen, store, sink)
    return done


def _send(chosen: dict[str, Letter], store: Store, sink: Sink) -> None:
    store.write_plain([Plain(key, SENDING, store.ttl_ms) for key in chosen])
    for letter in chosen.values():
        sink.send(Outgoing(letter.source.topic, letter.record.value, letter.record.key))
    sink.flush()
    store.write_plain([Plain(key, SENT, store.ttl_ms) for key in chosen])


def _chunks(letters: Iterable[Letter]) -> Iterator[list[Letter]]:
    several = iter(letters)
    while some := list(islice(several, AT_ONCE)):
        yield some
