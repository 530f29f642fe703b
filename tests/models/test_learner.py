from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import pytest

from models.head import Head
from models.learner import MAX_OPEN, Learner, OpenList, decode_learner, finite
from stream.errors import ModelError

JOIN_MS = 1000
Closed = list[tuple[str, list[bool]]]


def a_learner(closed: Closed | None = None) -> Learner:
    def note(shown: OpenList, taken: Sequence[bool]) -> None:
        assert closed is not None
        closed.append((shown.items[0], list(taken)))

    heads = {
        name: Head(["near", "bias"], segments=1, learning_rate=0.1, l2=0.0)
        for name in ("next", "shown")
    }
    return Learner(heads, JOIN_MS, note if closed is not None else None)


def a_list(offset: int, time: int = 0, items: Sequence[str] = ("a", "b", "c")) -> OpenList:
    n = len(items)
    x = np.column_stack([np.linspace(1, 0, n), np.ones(n)]).astype(np.float32)
    return OpenList(time, offset, list(items), x, np.zeros(n, np.int32), np.zeros(n))


def lesson(head: Learner, label: bool = True, n: int = 1) -> None:
    x = np.ones((n, 2), np.float32)
    head.teach("next", x, np.zeros(n, np.int32), [label] * n)


def test_a_list_closes_by_time_with_its_clicks() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.show("r", a_list(0))
    learner.take("r", "b")
    learner.advance(JOIN_MS - 1, 5)
    assert closed == []
    learner.advance(JOIN_MS, 6)
    assert closed == [("a", [False, True, False])]
    assert learner.heads["shown"].examples == 3


def test_a_list_nobody_took_from_teaches_nothing() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.show("r", a_list(0))
    learner.take("other", "a")
    learner.advance(JOIN_MS, 1)
    assert closed == []
    assert learner.heads["shown"].examples == 0


def test_a_late_click_teaches_no_more() -> None:
    learner = a_learner()
    learner.show("r", a_list(0))
    learner.take("r", "b")
    learner.advance(JOIN_MS, 1)
    before = learner.heads["shown"].matrix().tolist()
    learner.take("r", "c")
    learner.advance(9 * JOIN_MS, 2)
    learner.close_all()
    assert learner.heads["shown"].matrix().tolist() == before


def test_a_late_event_does_not_turn_back_time() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    learner.advance(5 * JOIN_MS, 0)
    learner.show("r", a_list(1, time=3 * JOIN_MS))
    learner.take("r", "a")
    learner.advance(0, 2)
    assert len(closed) == 1


def test_too_many_open_lists_close_the_oldest() -> None:
    closed: Closed = []
    learner = a_learner(closed)
    shared = a_list(0)
    learner.show("first", a_list(0, items=["x", "y"]))
    learner.take("first", "x")
    for n in range(1, MAX_OPEN):
        learner.show(f"r{n}", shared)
    assert closed == []
    learner.show("last", shared)
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
        learner.show(str(n), a_list(n, time=n * JOIN_MS))
        learner.take(str(n), "a")
        learner.advance(n * JOIN_MS, n)
    x, segment = a_list(0).x, np.zeros(3, np.int32)
    odds = learner.heads["shown"].score(x, segment)
    assert odds[0] > odds[1] > odds[2]


SCRIPT: list[tuple[int, str, str]] = [
    (0, "show", "r1"),
    (100, "teach", ""),
    (200, "show", "r2"),
    (300, "take", "r1"),
    (400, "teach", ""),
    (1000, "take", "r2"),
    (1100, "show", "r3"),
    (1200, "teach", ""),
    (2000, "take", "r3"),
    (4000, "teach", ""),
]


def play(learner: Learner, first: int, end: int) -> None:
    """Do what :meth:`models.lessons.Lessons.teach` does, one offset a step."""
    for offset in range(first, end):
        time, kind, name = SCRIPT[offset]
        known = offset <= learner.offset
        learner.advance(time, offset - 1)
        if kind == "show":
            learner.show(name, a_list(offset, time))
        elif kind == "take":
            learner.take(name, "b")
        elif not known:
            lesson(learner)
        learner.advance(time, offset)


@pytest.mark.parametrize("cut", range(len(SCRIPT) + 1))
def test_reread_from_the_oldest_open_list_every_example_is_taught_once(cut: int) -> None:
    unbroken = a_learner()
    play(unbroken, 0, len(SCRIPT))
    crashed = a_learner()
    play(crashed, 0, cut)
    raw = msgspec.json.encode(crashed.state(3, 0))
    restored, state = a_learner(), decode_learner(raw)
    restored.restore(state)
    play(restored, state.oldest_open, len(SCRIPT))
    assert restored.state(3, 0) == unbroken.state(3, 0)
    assert restored.heads["next"].examples == 4
    assert restored.heads["shown"].examples == 9


def test_checkpoint_names_the_oldest_open_list() -> None:
    learner = a_learner()
    learner.advance(0, 9)
    assert learner.state(3, 7).oldest_open == 10
    learner.show("r", a_list(4))
    learner.show("s", a_list(8))
    state = learner.state(3, 7)
    assert state.oldest_open == 4
    assert (state.as_of.partition, state.as_of.offset, state.as_of.event_time) == (3, 9, 7)
    assert msgspec.json.encode(state).startswith(b'{"as_of":{"partition":3,"offset":9')


def test_checkpoint_of_other_heads_is_refused() -> None:
    learner = a_learner()
    state = learner.state(0, 0)
    with pytest.raises(ModelError, match="heads"):
        learner.restore(msgspec.structs.replace(state, heads={"next": state.heads["next"]}))


def test_a_planted_shift_raises_the_drift_counter() -> None:
    rng = np.random.default_rng(0)
    steady, shifted = a_learner(), a_learner()
    for n in range(3000):
        kind = rng.random() < 0.9
        lesson(steady, kind)
        lesson(shifted, kind if n < 1500 else not kind)
    assert steady.drifts == 0
    assert shifted.drifts >= 1


def test_weights_that_are_not_finite_are_found() -> None:
    state = a_learner().state(0, 0)
    assert finite(state)
    head = msgspec.structs.replace(state.heads["next"], weights={"near": float("nan")})
    assert not finite(msgspec.structs.replace(state, heads={"next": head}))
