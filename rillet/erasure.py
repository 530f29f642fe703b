"""Forgetting a user everywhere, step by step, with a report of what was erased."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from features.card import AsOf
from features.session import Session, decode_session, encode_session
from features.tombstone import decode_tombstone, encode_tombstone, state_of
from models.answer import Answer, decode_answer, encode_answer
from models.learner import decode_learner
from rillet.letter_erasure import erase_letters
from stream.archive.reader import ends_of, is_archive
from stream.archive.upkeep import forget as forget_in_archive
from stream.errors import RilletError
from stream.records import TopicPartition
from stream.scanning import Sought, in_archive, in_redis
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain, Stamped

__all__ = ["Erased", "erase", "forget_directly", "look_for", "verify"]

POLL_S: Final = 0.2
REST_S: Final = 5.0
"""A batch's last writes come so much later than its first at the most, if nothing is amiss."""

OF_ITEMS: Final = ("item", "itemstate", "neighbours", "changes")
"""Kinds that tell of items: a name in them is an item's that is called like the user."""


class _Owned(Struct):
    """What tells whose an open list is: ids may hold colons, so its key alone does not."""

    user: str


@dataclass(slots=True)
class Erased:
    """What was erased of a user.

    Attributes
    ----------
    names
        Under which ids he was known here: pseudonyms, where they are on.
    forgotten_at
        Up to when he is forgotten, epoch milliseconds.
    handled
        Whether the consumers have worked off the `delete` event.
    events
        Events that had been folded into his state.
    lists, open_lists
        Recommendations, and shown lists that waited for clicks.
    archive_rows
        Rows that left the archive; None where there is none.
    dead_letters
        Letters that left their topic; None where Kafka was not asked.
    left
        Where his ids still stand, of a scan through everything; None where nobody looked.
    problems
        What could not be done, for a person.
    raw
        His id, where he is known here by pseudonyms: nothing is published under it, but
        dead letters and what is older than the secret may name him so.
    """

    names: list[str]
    forgotten_at: int
    handled: bool = False
    events: int = 0
    lists: int = 0
    open_lists: int = 0
    archive_rows: int | None = None
    dead_letters: int | None = None
    left: list[str] | None = None
    problems: list[str] = field(default_factory=list)
    raw: str = ""

    @property
    def sought(self) -> list[str]:
        """Every id by which something may name him."""
        return [*self.names, self.raw] if self.raw else self.names

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain values, for JSON."""
        return dataclasses.asdict(self)


def look_for(store: Store, done: Erased) -> None:
    """Count what is there of him before it goes."""
    for name in done.names:
        raw = store.get(store.keys.session(name))
        done.events += decode_session(raw).events if raw else 0
        done.lists += store.get(store.keys.recs(name)) is not None
    done.open_lists = len(_open_lists(store, done.names))


def erase(settings: Settings, store: Store, done: Erased, patience_s: float) -> None:
    """Wait until the `delete` event was handled, then erase what consumers do not.

    Parameters
    ----------
    settings, store
        Where everything lies.
    done
        Who, and up to when; what was erased is written there.
    patience_s
        How long the consumers, and then the archive, are waited for.
    """
    places = _handled(store, done, time.monotonic() + patience_s)
    done.handled = len(places) == len(done.names)
    if not done.handled:
        done.problems.append("the consumer personalize has not handled it yet: is it running?")
    _wait_for_the_rest(store, done, places)
    for name in filter(None, [*places, done.raw]):
        _clear(store, name)
    if is_archive(settings.archive.url):
        _wait_for_archive(settings, done, places, time.monotonic() + patience_s)
        _erase_rows(settings, done)
    try:
        done.dead_letters = erase_letters(settings.kafka, done.sought)
    except RilletError as error:
        done.problems.append(f"dead letters: {error}")


def forget_directly(settings: Settings, store: Store, done: Erased) -> None:
    """Forget a user in Redis and the archive while no consumer runs: no event is published."""
    life = int(settings.privacy.tombstone_days * 86_400_000)
    for name in done.names:
        keys = store.keys
        state = state_of(name, store.get(keys.session(name)), store.get(keys.forgotten(name)))
        time_ms = max(state.as_of.event_time, done.forgotten_at)
        place = (state.as_of.partition, state.as_of.offset)
        forgotten = max(state.forgotten, done.forgotten_at)
        empty = Session(as_of=AsOf(*place, time_ms), user=name, forgotten=forgotten)
        store.write_plain([Plain(keys.forgotten(name), encode_tombstone(empty), life)])
        gone = [keys.session(name), keys.recs(name)]
        store.write_plain([Plain(key, None) for key in gone])
    lists = _open_lists(store, done.names)
    _clear_learners(store, done, {name for _, name in lists})
    store.write_plain([Plain(store.keys.open_list(*one), None) for one in lists])
    done.handled = True
    if is_archive(settings.archive.url):
        _erase_rows(settings, done)


def verify(settings: Settings, store: Store, done: Erased) -> None:
    """Scan all of Redis and all of the archive's files for his ids."""
    sought = Sought(done.sought)
    also_item = any(store.get(store.keys.item_state(name)) for name in done.sought)
    passed = OF_ITEMS if also_item else ()
    found = [key for key in in_redis(store, sought) if _kind(store, key) not in passed]
    if is_archive(settings.archive.url):
        found += [
            f"{settings.archive.url}/{path}" for path in in_archive(settings.archive.url, sought)
        ]
    done.left = found


def _kind(store: Store, key: str) -> str:
    return key.removeprefix(f"{store.keys.prefix}:").split(":")[1]


def _handled(store: Store, done: Erased, deadline: float) -> dict[str, AsOf]:
    """Wait for the tombstones; return the stamps of those that came."""
    found: dict[str, AsOf] = {}
    while True:
        missing = [name for name in done.names if name not in found]
        raws = store.get_many([store.keys.forgotten(name) for name in missing])
        for name, raw in zip(missing, raws, strict=True):
            stone = decode_tombstone(raw) if raw else None
            if stone is not None and stone.forgotten >= done.forgotten_at:
                found[name] = stone.as_of
        if len(found) == len(done.names) or time.monotonic() > deadline:
            return found
        time.sleep(POLL_S)


def _wait_for_the_rest(store: Store, done: Erased, places: Mapping[str, AsOf]) -> None:
    """Wait for what the consumers do right after the tombstone: state emptied, list replaced.

    Not for long: what is there again for another reason a scan names.
    """
    deadline = time.monotonic() + REST_S
    while any(_lags(store, name, at, done.forgotten_at) for name, at in places.items()):
        if time.monotonic() > deadline:
            return
        time.sleep(POLL_S)


def _lags(store: Store, name: str, at: AsOf, until: int) -> bool:
    """Tell whether there is a state, or a list, from before the forgetting."""
    raw, listed = store.get_many([store.keys.session(name), store.keys.recs(name)])
    state = decode_session(raw) if raw else None
    if state is not None and state.forgotten < until:
        return True
    if not listed:
        return False
    try:
        made = decode_answer(listed).as_of
    except msgspec.MsgspecError:  # of another version: that one is from before
        return True
    return made.partition == at.partition and made.offset < at.offset


def _clear(store: Store, name: str) -> None:
    """Let the emptied state, and the list of strangers, go at once; a new life stays."""
    raw = store.get(store.keys.session(name))
    if raw is None:
        return
    state = decode_session(raw)
    if not state.events:
        place = (state.as_of.partition, state.as_of.offset)
        nothing = encode_answer(Answer(state.as_of, name, [], "", [], 0))
        keys = (store.keys.session(name), encode_session(state)), (store.keys.recs(name), nothing)
        store.write_stamped([Stamped(key, value, *place, 1) for key, value in keys])


def _open_lists(store: Store, names: Sequence[str]) -> list[tuple[int, str]]:
    """Return partition and name of each list of theirs that waits for its clicks."""
    found = []
    for name, raw in store.scan("open"):
        if msgspec.json.decode(raw, type=_Owned).user in names:
            partition, _, rest = name.partition(":")
            found.append((int(partition), rest))
    return found


def _clear_learners(store: Store, done: Erased, lists: set[str]) -> None:
    """Take a user's open lists and his voice out of the learners' checkpoints."""
    for name, raw in list(store.scan("learner")):
        try:
            state = decode_learner(raw)
        except msgspec.MsgspecError as error:  # consumers set such a checkpoint aside, too
            done.problems.append(f"the checkpoint of learner {name} cannot be read: {error}")
            continue
        kept = {one: taken for one, taken in state.open.items() if one not in lists}
        voices = [("" if user in done.names else user, at) for user, at in state.voices]
        state = replace(state, open=kept, voices=voices)
        key = store.keys.learner(int(name))
        store.write_plain([Plain(key, msgspec.json.encode(state), store.ttl_ms)])


def _wait_for_archive(
    settings: Settings, done: Erased, places: dict[str, AsOf], deadline: float
) -> None:
    """Wait until the archive has what was published up to the forgetting."""
    topic = settings.kafka.events
    wanted: dict[TopicPartition, int] = {}
    for at in places.values():
        place = TopicPartition(topic, at.partition)
        wanted[place] = max(at.offset, wanted.get(place, -1))
    while True:
        ends = ends_of(settings.archive.url)
        late = [p for p, at in wanted.items() if ends.get(f"{p.topic}:{p.partition}", 0) <= at]
        if not late:
            return
        if time.monotonic() > deadline:
            done.problems.append(
                f"the archive does not have {late[0]} up to the delete event yet: what comes is "
                "not read, and leaves its files when this command is given again"
            )
            return
        time.sleep(POLL_S)


def _erase_rows(settings: Settings, done: Erased) -> None:
    done.archive_rows = 0
    for name in done.names:
        try:
            tidied = forget_in_archive(settings.archive.url, name, done.forgotten_at)
            done.archive_rows += tidied.rows_before - tidied.rows
        except RilletError as error:
            done.problems.append(f"archive: {error}")
