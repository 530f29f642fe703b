"""States held until there is no more room: read once, written when they are put away."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from consumers.held import Held
from stream.settings import RedisSettings
from stream.store import Store
from stream.writes import Plain


class Notes:
    """Texts by name, as held states."""

    def __init__(self, store: Store) -> None:
        self.store, self.asked = store, list[str]()
        self.held = Held(store, self.read, self.written)

    def read(self, names: Sequence[str]) -> list[list[str]]:
        self.asked += names
        return [
            [name, (raw or b"new").decode()]
            for name, raw in zip(names, self.raws(names), strict=True)
        ]

    def raws(self, names: Sequence[str]) -> list[bytes | None]:
        return self.store.get_many([self.store.keys.session(name) for name in names])

    def written(self, note: list[str]) -> list[Plain]:
        return [Plain(self.store.keys.session(note[0]), note[1].encode(), 60_000)]

    def change(self, names: str, text: str) -> None:
        self.held.load(names)
        for name in names:
            self.held.held[name][1] = text
        self.held.change(names)


@pytest.fixture
def notes() -> Iterator[Notes]:
    store = Store(RedisSettings.model_validate({"url": "embedded:"}))
    yield Notes(store)
    store.close()


@pytest.mark.parametrize("at_once", [1, 1000])
def test_those_away_the_longest_are_written_first(
    notes: Notes, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("consumers.held.AT_ONCE", at_once)
    notes.change("abc", "1")
    notes.change("a", "2")
    notes.held.trim(3)
    assert notes.raws("abc") == [None, None, None]
    notes.held.trim(1)
    assert notes.raws("abc") == [None, b"1", b"1"]
    notes.held.trim(0)
    assert notes.raws("abc") == [b"2", b"1", b"1"]
    assert not notes.held.held


def test_what_is_put_away_is_read_again_and_what_is_held_is_not(notes: Notes) -> None:
    notes.change("ab", "1")
    notes.held.trim(1)
    notes.held.load("ab")
    assert notes.asked == ["a", "b", "a"]
    assert notes.held.held["a"] == ["a", "1"]


def test_what_was_not_changed_is_not_written(notes: Notes) -> None:
    notes.held.load("ab")
    notes.held.change("b")
    notes.held.trim(0)
    assert notes.raws("ab") == [None, b"new"]
    notes.held.load("b")
    notes.store.write_plain([Plain(notes.store.keys.session("b"), b"other", 60_000)])
    notes.held.trim(0)
    assert notes.raws("b") == [b"other"]


def test_some_are_as_many_as_asked_at_the_most_from_first_to_last(notes: Notes) -> None:
    notes.held.load("abcdefg")
    assert [note[0] for note in notes.held.some(3)] == ["a", "d", "g"]
    assert len(notes.held.some(100)) == 7
    notes.held.trim(0)
    assert notes.held.some(3) == []
