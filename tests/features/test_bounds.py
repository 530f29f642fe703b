"""How large a user's state can become, whatever he does."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from features.session import Session, encode_session, fold, new_session
from stream.events import BadRecord, decode
from stream.limits import MAX_FIELDS, MAX_ID, MAX_NAME, MAX_TYPE, MAX_VALUES, MAX_WORD
from tests.builders import DAY, NOON, RULES


class Diligent:
    """A user who does all he can; his events go through the decoder as they would live."""

    def __init__(self, id_chars: int) -> None:
        self.session: Session = new_session("u")
        self._chars, self._offset = id_chars, 0

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
                kind = f"{number % 80:0{MAX_TYPE}d}" if number % 2 else "click"
                more = {"item": self.name(number), "type": kind}
                self.do("interaction", at, id=self.name(10**6 + number), **more)
            shown = [{"id": self.name(10**5 + day * 30 + n)} for n in range(30)]
            self.do("ranking", at + 9999, id=self.name(10**7 + day), items=shown)


@pytest.mark.parametrize(("chars", "most"), [(10, 60_000), (MAX_ID, 1_000_000)])
def test_a_state_ends_somewhere(chars: int, most: int) -> None:
    user = Diligent(chars)
    values = ["x" * (MAX_WORD + 1)] * (MAX_VALUES + 1)
    fields = [{"name": f"{n:0{MAX_NAME}d}", "value": values} for n in range(MAX_FIELDS + 1)]
    if chars == MAX_ID:
        user.do("user", NOON, fields=fields)
    user.live(range(130))
    size = len(encode_session(user.session))
    assert size < most
    user.live(range(130, 160))
    assert len(encode_session(user.session)) < size * 1.02
