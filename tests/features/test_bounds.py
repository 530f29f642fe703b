"""How large a user's state can become, whatever he does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from features.session import Session, encode_session, fold, new_session
from stream.events import BadRecord, decode
from stream.limits import MAX_FIELDS, MAX_ID, MAX_NAME, MAX_TYPE, MAX_VALUES, MAX_WORD
from tests.builders import DAY, NOON, RULES

LIMITS = Path(__file__).resolve().parents[2] / "docs" / "limits.md"
PLACES = ("device", "platform", "country", "place", "city", "language", "referer")


class Diligent:
    """A user who does all he can; his events go through the decoder as they would live."""

    def __init__(self, id_chars: int, types: int) -> None:
        self.session: Session = new_session("u")
        self._chars, self._offset = id_chars, 0
        self._types = ["click", "view", "purchase"]
        if types > len(self._types):
            self._types = [f"{number:0{MAX_TYPE}d}" for number in range(types)]

    def do(self, kind: str, at: int, **more: Any) -> None:
        record = {"event": kind, "timestamp": at, "user": "u", **more}
        event = decode(msgspec.json.encode(record))
        assert not isinstance(event, BadRecord)
        fold(self.session, event, (0, self._offset), RULES)
        self._offset += 1

    def name(self, number: int) -> str:
        return f"{number:0{self._chars}d}"

    def live(self, days: range) -> None:
        """Do this and that, every day something new."""
        for day in days:
            at = NOON + day * DAY
            for number in range(day * 20, day * 20 + 20):
                kind = self._types[number // 2 % len(self._types)] if number % 2 else "click"
                more = {"item": self.name(number), "type": kind}
                self.do("interaction", at, id=self.name(10**6 + number), **more)
            shown = [{"id": self.name(10**5 + day * 30 + n)} for n in range(30)]
            self.do("ranking", at + 9999, id=self.name(10**7 + day), items=shown)

    def say_all(self, values: list[str], fields: int) -> None:
        """Fill what lies beside his deeds: profile, query, where he is."""
        names = [f"{n:0{MAX_NAME}d}" for n in range(fields)]
        self.do("user", NOON, fields=[{"name": name, "value": values} for name in names])
        where = [{"name": name, "value": "x" * (MAX_WORD + 1)} for name in PLACES]
        self.do("search", NOON, query="q" * 1001, fields=where)


def documented() -> list[int]:
    """Return the bytes at which states end: the usual, the busiest, the one of the longest ids."""
    words = " ".join(LIMITS.read_text("utf-8").split())
    found = re.search(
        r"ends at (\d+) KB with ids of ten.*?, at (\d+) KB with.*?, and at (\d+) KB", words
    )
    assert found is not None
    return [int(one) * 1000 for one in found.groups()]


@pytest.mark.parametrize(
    ("row", "chars", "types", "fields"), [(0, 10, 3, 0), (1, 10, 80, 0), (2, MAX_ID, 80, 99)]
)
def test_a_state_ends_where_the_documentation_says(
    row: int, chars: int, types: int, fields: int
) -> None:
    most = documented()[row]
    user = Diligent(chars, types)
    if row:
        user.say_all(["x" * (MAX_WORD + 1)] * (MAX_VALUES + 1), min(fields, MAX_FIELDS + 1))
    user.live(range(270))
    size = len(encode_session(user.session))
    assert most * 0.9 < size < most
    user.live(range(270, 300))
    assert len(encode_session(user.session)) < min(most, size * 1.01)
