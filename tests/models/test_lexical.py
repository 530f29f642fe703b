"""BM25 over items: what is found, and that it is the same however the texts came."""

from __future__ import annotations

import math
from concurrent.futures import Future

import numpy as np
import pytest

from features.tokens import words_of_query, words_of_text
from models import lexical
from models.beside import in_a_thread
from models.lexical import K1, B, LexicalIndex

TEXTS = [
    "tea cup of blue glass",
    "coffee mug",
    "blue kettle for tea, tea for two",
    "bicycle bell",
    "抹茶の茶碗",
    "智能手表",
]


def filled(texts: list[str] = TEXTS) -> LexicalIndex:
    index = LexicalIndex()
    index.put(np.arange(len(texts)), [words_of_text(text) for text in texts])
    index.settle()
    return index


def asked(index: LexicalIndex, query: str, size: int = len(TEXTS)) -> list[float]:
    return list(map(float, index.scores(words_of_query(query), size)))


def by_hand(query: str, texts: list[str] = TEXTS) -> list[float]:
    """Return BM25 as the papers define it."""
    words = [words_of_text(text) for text in texts]
    mean = sum(map(len, words)) / len(words)
    scores = []
    for its in words:
        score = 0.0
        for word in words_of_query(query):
            found = sum(word in one for one in words)
            rarity = math.log(1 + (len(words) - found + 0.5) / (found + 0.5))
            times = its.count(word)
            score += rarity * times / (times + K1 * (1 - B + B * len(its) / mean))
        scores.append(score)
    return scores


@pytest.mark.parametrize("query", ["tea", "blue tea", "tea bicycle mug", "茶碗", "手表 cup", "茶"])
def test_it_is_bm25(query: str) -> None:
    assert asked(filled(), query) == pytest.approx(by_hand(query), abs=1e-6)


@pytest.mark.parametrize("query", ["", "saucer", "!?", "字"])
def test_what_is_nowhere_finds_nothing(query: str) -> None:
    assert asked(filled(), query) == [0.0] * len(TEXTS)


def test_an_empty_index_finds_nothing() -> None:
    index = LexicalIndex()
    assert index.scores(["tea"], 3).tolist() == [0, 0, 0]
    index.settle()
    assert index.scores(["tea"], 3).tolist() == [0, 0, 0]


def test_a_text_that_came_later_is_found_as_if_it_had_been_there() -> None:
    index = filled()
    index.put(np.array([6]), [words_of_text("tea pot")])
    later = asked(index, "tea pot", 7)
    assert np.argmax(later) == 6
    index.settle()
    # what is rare has changed a little by the one text
    assert later == pytest.approx(asked(index, "tea pot", 7), rel=0.35)
    assert asked(index, "tea pot", 7) == pytest.approx(by_hand("tea pot", [*TEXTS, "tea pot"]))


def test_a_text_that_changed_is_found_by_its_new_words_alone() -> None:
    index = filled()
    index.put(np.array([0, 1]), [words_of_text("saucer"), []])
    for _ in range(2):
        assert asked(index, "cup glass coffee") == [0.0] * len(TEXTS)
        assert np.flatnonzero(asked(index, "saucer")).tolist() == [0]
        index.settle()


def test_many_changes_are_laid_out_without_being_asked_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lexical, "CHANGED", 3)
    begun = []

    def now(work: object) -> Future[object]:
        begun.append(work)
        done: Future[object] = Future()
        done.set_result(work())  # type: ignore[operator]
        return done

    index = LexicalIndex(now)  # type: ignore[arg-type]
    for row, text in enumerate(TEXTS):
        index.put(np.array([row]), [words_of_text(text)])
        asked(index, "tea")
    assert len(begun) == 1
    assert asked(index, "tea")[0] > 0
    assert asked(index, "手表")[5] > 0


def test_what_changes_while_it_is_laid_out_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lexical, "CHANGED", 3)
    waiting: list[tuple[object, Future[object]]] = []

    def later(work: object) -> Future[object]:
        waiting.append((work, Future()))
        return waiting[-1][1]

    index = LexicalIndex(later)  # type: ignore[arg-type]
    index.put(np.arange(len(TEXTS)), [words_of_text(text) for text in TEXTS])
    asked(index, "tea")  # begins to lay out
    index.put(np.array([1, 6]), [words_of_text("saucer"), words_of_text("new pot")])
    during = asked(index, "saucer", 7), asked(index, "coffee", 7), asked(index, "pot", 7)
    work, coming = waiting[0]
    coming.set_result(work())  # type: ignore[operator]
    after = asked(index, "saucer", 7), asked(index, "coffee", 7), asked(index, "pot", 7)
    for found in (during, after):
        assert np.flatnonzero(found[0]).tolist() == [1]
        assert not any(found[1])
        assert np.flatnonzero(found[2]).tolist() == [6]


def test_where_laying_out_fails_all_is_still_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lexical, "CHANGED", 3)
    coming: list[Future[object]] = []

    def fails(_: object) -> Future[object]:
        coming.append(Future())
        return coming[-1]

    index = LexicalIndex(fails)  # type: ignore[arg-type]
    index.put(np.arange(len(TEXTS)), [words_of_text(text) for text in TEXTS])
    before = asked(index, "tea", 7)
    index.put(np.array([6]), [words_of_text("saucer")])
    coming[0].set_exception(MemoryError("no room"))
    assert asked(index, "tea", 7) == pytest.approx(before, rel=0.35)
    assert np.flatnonzero(asked(index, "saucer", 7)).tolist() == [6]
    assert "no room" in caplog.text
    assert len(coming) == 2, "it is tried again"


def test_in_a_thread_it_finds_the_same() -> None:
    index = LexicalIndex(in_a_thread)
    index.put(np.arange(len(TEXTS)), [words_of_text(text) for text in TEXTS])
    index.settle()
    assert asked(index, "blue tea") == pytest.approx(by_hand("blue tea"), abs=1e-6)
