"""What is fuzzed: any bytes through the decoder, and on as far as a consumer carries them.

``benchmarks.fuzz`` runs this module in a process of its own, for libFuzzer ends the process
that it runs in. Mutation is libFuzzer's own on bytes in one half of the cases; in the other a
value somewhere in the JSON is replaced, since bytes alone seldom get past the parser.
"""

from __future__ import annotations

import importlib
import json
import random
import sys
from collections.abc import Iterator
from typing import Any, Final

from stream.deadletters import dead_letter
from stream.events import BadRecord, Event, Millis, decode, encode, malformed, partition_key
from stream.records import Record
from stream.routing import outgoing
from stream.settings import Settings

__all__ = ["SEEDS", "check", "mutated"]

REASONS: Final = {"malformed", "oversize", "reserved"}
"""All that the decoder itself may find; ``future`` needs a clock."""

SETTINGS: Final = Settings()
LIMIT: Final = 4096
SHARE_OF_BYTES: Final = 0.5

SEEDS: Final = (
    b'{"event":"item","timestamp":1636907100000,"item":"i","fields":[{"name":"price","value":9.5},'
    b'{"name":"tags","value":["a",1]},{"name":"x","value":null},{"name":"y","value":true}]}',
    b'{"event":"user","timestamp":"2021-11-15T16:50:45Z","user":"u","fields":[]}',
    b'{"event":"ranking","timestamp":"1636907100000","id":"r","user":"u","session":"s",'
    b'"items":[{"id":"a","propensity":0.5},{"id":"b","fields":[{"name":"n","value":"v"}]}]}',
    b'{"event":"interaction","timestamp":1e12,"type":"click","session":"s","item":"i",'
    b'"ranking":"r","value":1}',
    b'{"event":"search","timestamp":0,"user":"u","query":"tea \\u00e9\\ud83d\\ude00"}',
    b'{"event":"delete","timestamp":1,"user":"u"}',
    b'{"event":"delete","timestamp":1,"item":"i","tenant":"t"}',
    b'{"event":"identify","timestamp":1,"user":"u","anonymous":"v"}',
    b'{"event":"merge","timestamp":1,"user":"u","anonymous":"v","state":{"as_of":{}}}',
)
"""One of each kind, and of each spelling of a time."""

ODD: Final[tuple[Any, ...]] = (
    *(None, True, 0, -1, 0.5, -0.0, 1e308, 2**53, 2**63, 2**64, -(2**63) - 1, 10**30),
    *(253402300800000, "", " ", "0", "1e400", "nan", "inf", "-0", "2021-13-45"),
    *("9999-12-31T23:59:59-14:00", "0001-01-01", "*default*", "item", "\0", "\ud800"),
    *("\U0010ffff", "a" * 600, [], {}, [[]], [None], {"id": None}, {"event": "item"}),
    *([{"name": "n", "value": [1, "a", None]}], [{"name": 1}]),
)
"""Values that are at an edge of something."""


def check(raw: bytes) -> Event | BadRecord:
    """Decode, and hold the result to what its readers rely on.

    Raises
    ------
    AssertionError
        It breaks a promise; any other error is a crash of the code under test.
    """
    found = decode(raw, max_bytes=LIMIT)
    sent = outgoing(raw, found, SETTINGS)
    if isinstance(found, BadRecord):
        assert found.reason in REASONS
        assert found.message
        assert found.raw == raw
        letter = dead_letter(found, Record("events", 0, 0, sent.key, raw), "dead")
        for _, value in letter.headers:
            value.decode("utf-8")
        return found
    assert sent.key
    assert sent.value == raw
    written = encode(found)
    again = decode(written)
    assert not isinstance(again, BadRecord), again
    assert encode(again) == written
    return found


def mutated(raw: bytes, chance: random.Random) -> bytes:
    """Return the JSON with one value replaced, moved or removed; other bytes as they are."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        return raw
    places = list(_places(value)) if isinstance(value, dict | list) else []
    if not places:
        return raw
    inside, key = chance.choice(places)
    choice = chance.randrange(4)
    if choice == 0:
        del inside[key]
    elif choice == 1:
        other, name = chance.choice(places)
        inside[key] = other.get(name) if isinstance(other, dict) else list(other)
    else:
        inside[key] = chance.choice(ODD)
    escaped = chance.random() < SHARE_OF_BYTES
    try:
        return json.dumps(value, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):  # it holds itself now
        return raw


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value's holder and its name or place in it."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, inner in list(pairs):
        yield value, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def main() -> None:
    """Hand everything to libFuzzer; the arguments are its own."""
    atheris: Any = importlib.import_module("atheris")  # has no types, and not every Python has it

    def mutate(raw: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < SHARE_OF_BYTES:
            return bytes(atheris.Mutate(raw, most))
        return mutated(raw or chance.choice(SEEDS), chance)[:most]

    def one(raw: bytes) -> None:
        check(raw)

    for function in (
        decode,
        malformed,
        partition_key,
        vars(Millis)["parse"].__func__,
        outgoing,
        dead_letter,
    ):
        atheris.instrument_func(function)  # in place; msgspec itself is C and gives no coverage
    atheris.Setup(sys.argv, one, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
