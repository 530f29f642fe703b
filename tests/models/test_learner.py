from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from features.catalogue import Catalogue
from features.shown import ShownBefore
from models.head import Head
from models.learner import MAX_OPEN, PAGE_MS, Learner, decode_learner
from models.open_list import OpenList, Scored, decode_list, encode_list
from models.watermark import VOICES, Watermark
from stream.errors import ModelError

JOIN_MS = 1000
Closed = list[tuple[str, list[bool]]]


def a_learner(closed: Closed | None = None) -> Learner:
    def note(shown: OpenList, taken: Sequence[bool], offset: int) -> None:
        assert closed is not None
        closed.append((shown.items[0], list(taken)))

    heads = {
        name: Head(["near", "bias"], segments=1, learning_rate=0.1, l2=0.0)
        for name in ("next", "shown")
    }
    return Learner(heads, JOIN_MS, note if closed is not None else None)


def nobody() -> ShownBefore:
    none = np.zeros(0, np.int32)
    return ShownBefore(none, none, none.astype(np.bool_), none)


def a_list(
    offset: int, time: int = 0, items: Sequence[str] = ("a", "b", "c"), user: str = ""
) -> OpenList:
    """Return a list of a user of its own, unless one is named."""
    n = len(items)
    x = np.column_stack([np.linspace(1, 0, n), np.ones(n)]).astype(np.float32)
    return OpenList(
        time=time,
        offset=offset,
        user=user or f"user{offset}",
        items=list(items),
        rows=np.arange(n, dtype=np.int32),
        before=nobody(),
        scored=Scored(x, np.zeros(n, np.int32), np.linspace(0, 1, n)),
    )


def lesson(head: Learner, label: bool = True, n: int = 1) -> None:
    x = np.ones((n, 2), np.float32)
    head.teach("next", x, np.zeros(n, np.int32), [label] * n)


def test_a_list_closes_by_time_with_its_clicks() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.show("r", a_list(0))
    learner.take("r", "b")
    learner.advance("user0", JOIN_MS - 1, 5)
    assert closed == []
    learner.advance("user0", JOIN_MS, 6)
    assert closed == [("a", [False, True, False])]
    assert learner.heads["shown"].examples == 3


def test_a_list_nobody_took_from_teaches_nothing() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.show("r", a_list(0))
    learner.take("other", "a")
    learner.advance("user0", JOIN_MS, 1)
    assert closed == [("a", [False, False, False])]
    assert learner.heads["shown"].examples == 0


def test_a_late_click_teaches_no_more() -> None:
    learner = a_learner()
    learner.show("r", a_list(0))
    learner.take("r", "b")
    learner.advance("user0", JOIN_MS, 1)
    before = learner.heads["shown"].matrix().tolist()
    learner.take("r", "c")
    learner.advance("user0", 9 * JOIN_MS, 2)
    learner.close_all()
    assert learner.heads["shown"].matrix().tolist() == before


def test_a_clock_ahead_closes_its_own_lists_alone() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.show("slow", a_list(0, user="slow"))
    learner.show("fast", a_list(1, time=50 * JOIN_MS, items=["x", "y"], user="fast"))
    for n in range(20):
        learner.advance("fast", (50 + n) * JOIN_MS, 2 + n)
    assert [name for name, _ in closed] == ["x"]
    learner.take("slow", "b")
    learner.advance("slow", JOIN_MS, 30)
    assert closed[1:] == [("a", [False, True, False])]


def test_the_list_of_a_silent_user_closes_by_the_others_time() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.show("r", a_list(0, user="silent"))
    learner.advance("one", JOIN_MS, 1)
    assert closed == []
    learner.advance("another", JOIN_MS, 2)
    assert len(closed) == 1


def test_a_late_event_does_not_turn_back_time() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.show("r", a_list(0, user="silent"))
    for n in range(2 * VOICES):
        learner.advance(f"other{n}", (JOIN_MS - 1) * (n < VOICES), n + 1)
    assert closed == []
    for n in range(VOICES):
        learner.advance(f"other{n}", JOIN_MS, 99 + n)
    assert len(closed) == 1


def test_the_lists_of_one_page_wait_together() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.show("top", a_list(0, user="u"))
    learner.show("side", a_list(1, time=PAGE_MS, items=["x", "y"], user="u"))
    learner.take("top", "c")
    learner.take("side", "x")
    assert closed == []
    learner.show("next page", a_list(2, time=2 * PAGE_MS + 1, user="u"))
    assert closed == [("a", [False, False, True]), ("x", [True, False])]


def test_too_many_open_lists_close_the_oldest() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.show("first", a_list(0, items=["x", "y"]))
    learner.take("first", "x")
    for n in range(1, MAX_OPEN):
        learner.show(f"r{n}", a_list(n))
    assert closed == []
    learner.show("last", a_list(MAX_OPEN))
    assert closed == [("x", [True, False])]


def test_the_end_of_the_log_closes_every_list() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    for n, name in enumerate("pqr"):
        learner.show(name, a_list(n, items=[name, "z"]))
        learner.take(name, "z")
    learner.close_all()
    assert [name for name, _ in closed] == ["p", "q", "r"]
    learner.close_all()
    assert len(closed) == 3


def test_learning_raises_what_is_taken() -> None:
    learner = a_learner()
    for n in range(50):
        learner.show(str(n), a_list(n, time=3 * n * JOIN_MS, user="u"))
        learner.take(str(n), "a")
    known = a_list(0).scored
    assert known is not None
    odds = learner.heads["shown"].score(known.x, known.segment)
    assert odds[0] > odds[1] > odds[2]


SCRIPT: list[tuple[int, str, str, str]] = [
    (0, "ann", "show", "r1"),
    (100, "bob", "teach", ""),
    (200, "cid", "show", "r2"),
    (300, "ann", "take", "r1"),
    (400, "dan", "teach", ""),
    (1000, "cid", "take", "r2"),
    (1100, "eve", "show", "r3"),
    (1200, "cid", "teach", ""),
    (2000, "eve", "take", "r3"),
    (4000, "bob", "teach", ""),
    *((5000 + n, f"late{n}", "", "") for n in range(VOICES)),
]


def play(learner: Learner, first: int, end: int) -> None:
    """Do what :meth:`models.lessons.Lessons.teach` does, one event a step."""
    for offset in range(first, end):
        time, user, kind, name = SCRIPT[offset]
        learner.advance(user, time, offset)
        if kind == "show":
            learner.show(name, a_list(offset, time, user=user))
        elif kind == "take":
            learner.take(name, "b")
        elif kind == "teach":
            lesson(learner)


def other_rows() -> Catalogue:
    """Return a catalogue with rows of its own, as another process has."""
    catalogue = Catalogue(dim=1)
    catalogue.ensure("somebody else's")
    return catalogue


def resumed(learner: Learner, written: dict[str, bytes]) -> Learner:
    """Return what a new process makes of a learner's checkpoint and open lists."""
    raw = learner.encode(3)
    assert raw == msgspec.json.encode(learner.state(3))
    restored, state = a_learner(), decode_learner(raw)
    places = other_rows()
    restored.restore(state, {name: decode_list(written[name], places, 2) for name in state.open})
    return restored


def note(learner: Learner, written: dict[str, bytes]) -> None:
    """Write and delete lists as a checkpoint does."""
    written.update({n: encode_list(one, 3, ["a", "b", "c"]) for n, one in learner.begun.items()})
    for name in learner.closed_for_good():
        del written[name]
    learner.noted()


@pytest.mark.parametrize("cut", range(len(SCRIPT) + 1))
def test_a_restart_at_any_event_teaches_every_example_once(cut: int) -> None:
    unbroken, broken = a_learner(), a_learner()
    play(unbroken, 0, len(SCRIPT))
    written: dict[str, bytes] = {}
    for offset in range(cut):
        play(broken, offset, offset + 1)
        note(broken, written)
    restored = resumed(broken, written)
    play(restored, cut, len(SCRIPT))
    assert restored.state(3) == unbroken.state(3)
    assert restored.heads["next"].examples == 4
    assert restored.heads["shown"].examples == 9


def test_open_lists_are_written_once_and_deleted_when_they_have_closed() -> None:
    learner, written = a_learner(), dict[str, bytes]()
    learner.show("r", a_list(0))
    note(learner, written)
    assert list(written) == ["r"]
    assert learner.begun == {}
    learner.advance("user0", JOIN_MS, 1)
    note(learner, written)
    assert written == {}
    learner.show("s", a_list(2, JOIN_MS))
    learner.advance("user2", 2 * JOIN_MS, 3)
    note(learner, written)
    assert written == {}


def test_a_list_shown_anew_under_its_name_stays() -> None:
    learner, written = a_learner(), dict[str, bytes]()
    for offset in range(2):
        learner.show("r", a_list(offset, user="u"))
        note(learner, written)
    assert list(written) == list(learner.state(3).open) == ["r"]


def test_an_open_list_is_read_as_it_was_written() -> None:
    shown = a_list(7, 12)
    shown.before = ShownBefore(
        rows=np.array([2, 0], np.int32),
        positions=np.array([0, 1], np.int32),
        taken=np.array([True, False]),
        lists=np.array([0, 0], np.int32),
    )
    places = other_rows()
    back = decode_list(encode_list(shown, 1, ["a", "b", "c"]), places, 2)
    assert [places.ids[row] for row in back.rows] == ["a", "b", "c"]
    assert [places.ids[row] for row in back.before.rows] == ["c", "a"]
    assert (back.time, back.offset, back.user, back.items) == (12, 7, "user7", ["a", "b", "c"])
    assert back.scored is not None
    for name in ("x", "segment", "odds"):
        assert np.array_equal(getattr(back.scored, name), getattr(shown.scored, name))
    for name in ("positions", "taken", "lists"):
        assert np.array_equal(getattr(back.before, name), getattr(shown.before, name))


@pytest.mark.parametrize("asked", [False, True])
def test_a_list_that_was_not_drawn_is_counted_and_teaches_no_head(asked: bool) -> None:
    closed: Closed = []
    learner, shown = a_learner(closed), a_list(0)
    known = shown.scored
    assert known is not None
    shown.scored = replace(known, learn=False) if asked else None
    learner.show("r", shown)
    learner.take("r", "b")
    raw = encode_list(shown, 1, ["a", "b", "c"])
    learner.advance("user0", JOIN_MS, 1)
    assert closed == [("a", [False, True, False])]
    assert learner.heads["shown"].examples == 0
    back = decode_list(raw, other_rows(), 2)
    assert (back.items, back.user, back.scored) == (["a", "b", "c"], "user0", None)


@pytest.mark.parametrize("width", [1, 3])
def test_an_open_list_of_other_features_is_refused(width: int) -> None:
    raw = encode_list(a_list(0), 0, ["a", "b", "c"])
    with pytest.raises(ModelError):
        decode_list(raw, other_rows(), width)
    with pytest.raises(ModelError):
        decode_list(raw[:-9], other_rows(), 2)


def test_a_lost_list_is_let_go() -> None:
    learner = a_learner()
    learner.show("r", a_list(0))
    restored = a_learner()
    restored.restore(learner.state(3), {})
    assert restored.state(3).open == {}


def test_a_checkpoint_begins_with_its_stamp() -> None:
    learner = a_learner()
    learner.show("r", a_list(8, time=70))
    learner.advance("user8", 70, 9)
    state = learner.state(3)
    assert (state.as_of.partition, state.as_of.offset, state.as_of.event_time) == (3, 9, 70)
    assert msgspec.json.encode(state).startswith(b'{"as_of":{"partition":3,"offset":9')


def test_checkpoint_of_other_heads_is_refused() -> None:
    learner = a_learner()
    state = learner.state(0)
    with pytest.raises(ModelError, match="heads"):
        learner.restore(msgspec.structs.replace(state, heads={"next": state.heads["next"]}), {})


def test_a_planted_shift_raises_the_drift_counter() -> None:
    rng = np.random.default_rng(0)
    steady, shifted = a_learner(), a_learner()
    for n in range(3000):
        kind = rng.random() < 0.9
        lesson(steady, kind)
        lesson(shifted, kind if n < 1500 else not kind)
    assert steady.drifts == 0
    assert shifted.drifts >= 1


def test_only_what_teaches_is_worth_a_checkpoint() -> None:
    learner, x = a_learner(), np.eye(2, dtype=np.float32)
    learner.advance("user1", 1, 1)
    learner.take("unknown", "a")
    assert not learner.changed
    deeds: list[Callable[[], None]] = [
        lambda: lesson(learner),
        lambda: learner.show("r", a_list(2)),
        lambda: learner.take("r", "a"),
        lambda: learner.advance("user2", JOIN_MS, 3),
        lambda: learner.choose("choice", x, 0, 1),
        lambda: learner.choose("choice", None, 0, 0),
    ]
    learner.heads["choice"] = Head(["near", "bias"], segments=1, learning_rate=0.1, l2=0.0)
    for deed in deeds:
        deed()
        assert learner.changed
        learner.noted()


def test_a_choice_among_others_counts_and_teaches_nothing() -> None:
    learner = a_learner()
    before = learner.heads["next"].matrix()
    learner.choose("next", None, 0, 0)
    assert learner.heads["next"].examples == 1
    assert np.array_equal(learner.heads["next"].matrix(), before)


def test_a_user_of_many_events_has_one_voice() -> None:
    clock = Watermark()
    for n, user in enumerate("abc"):
        clock.hear(user, n)
    for n in range(VOICES):
        clock.hear("fast", 100 + n)
    assert clock.now == 1
    again = Watermark(clock.state(), clock.now)
    for one in (clock, again):
        one.hear("d", 2)
    assert clock.state() == again.state()
    assert clock.now == again.now == 2
