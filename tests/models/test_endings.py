"""Outputs at last interactions alone are those of the whole network, and nothing is read twice."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from features.contexts import Contexts
from features.session import Session
from models.endings import outputs
from models.loaded import Loaded
from models.sequence import Attention, Batch, SequenceConfig, SequenceModel
from models.windows import Tokens, Windows
from tests.builders import DAY, MINUTE, NOON, folded, interaction, search
from tests.models.sources.shop import Words, contexts, world
from tests.models.sources.tiny import LETTERS, vector
from tests.models.test_sequence import stirred

LENGTH = 7


def walk(items: str, *, end: int = NOON - MINUTE) -> Session:
    """Return who took these letters a minute apart; capitals he disliked."""
    begin = end - (len(items) - 1) * MINUTE
    return folded(
        [
            interaction(
                one.lower(), begin + k * MINUTE, type="dislike" if one.isupper() else "click"
            )
            for k, one in enumerate(items)
        ]
    )


def steps(items: str, begin: int = NOON - DAY) -> list[Session]:
    """Return one person before each of these letters but the first, and after the last."""
    return [
        walk(items[:count], end=begin + (count - 1) * MINUTE) for count in range(1, len(items) + 1)
    ]


def crowd() -> list[Session]:
    """Return people of whom some are the same one at several moments."""
    asked = folded([interaction("c", NOON - 9 * MINUTE), search("tea", NOON - MINUTE)])
    hats = folded([interaction("e", NOON - 8 * MINUTE), search("hats", NOON - MINUTE)])
    longer = steps("abcdefghijab")  # beyond LENGTH each has a window of its own
    return [*steps("abCde"), walk("j"), *longer, asked, *steps("hgf", NOON - 2 * DAY), hats]


def network(block: Literal["ligr", "sasrec"], layers: int) -> SequenceModel:
    shape = SequenceConfig(
        dim=16, layers=layers, heads=2, length=LENGTH, block=block, content_dim=2, gaps=8
    )
    contents = torch.from_numpy(np.array([vector(one) for one in LETTERS]))
    return stirred(SequenceModel(shape, contents)).eval()


def by_the_whole(
    model: SequenceModel, asked: Contexts, most: NDArray[np.integer] | int = LENGTH
) -> NDArray[np.float32]:
    """Return what the network says of so many interactions, one question at a time."""
    said = []
    counts = np.minimum(asked.length, most)
    for row, count in enumerate(counts.tolist()):
        times = np.append(asked.times[row, :count][::-1], asked.now[row])
        query = torch.full((1, count), -1)
        text = asked.queries[row]
        query[0, -1] = 0 if text else -1
        given = Batch(
            items=torch.from_numpy(asked.items[row, :count][::-1].astype(np.int64))[None],
            weight=torch.from_numpy(asked.weight[row, :count][::-1].copy())[None],
            gap_s=torch.from_numpy((np.diff(times) / 1000).astype(np.float32))[None],
            query=query,
            queries=torch.from_numpy(Words().vectors([text] if text else ["tea"])),
        )
        with torch.no_grad():
            said.append(model(given, model.items())[0, -1].numpy())
    return np.array(said)


def served(model: SequenceModel) -> Loaded:
    return Loaded.of(deepcopy(model), "v", (0, 0), "fp32")


@pytest.mark.parametrize("block", ["ligr", "sasrec"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_the_last_outputs_are_those_of_the_whole_network(
    block: Literal["ligr", "sasrec"], layers: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("models.loaded.ROWS", rows)
    model, asked = network(block, layers), contexts(world(LETTERS), *crowd())
    found = served(model).users(asked, np.arange(len(asked)), Words())
    whole = by_the_whole(model, asked)
    assert found == pytest.approx(whole, rel=1e-4, abs=1e-5)
    assert np.abs(np.diff(whole, axis=0)).max(axis=1).min() > 1e-2  # no two questions are alike


def test_some_rows_alone_are_asked_about() -> None:
    model, asked = network("ligr", 2), contexts(world(LETTERS), *crowd())
    known = np.array([9, 2, 0, 4])
    found = served(model).users(asked, known, Words())
    assert found == pytest.approx(by_the_whole(model, asked)[known], rel=1e-4, abs=1e-5)


def read(asked: Contexts, rows: int = 64) -> list[Tokens]:
    windows = Windows.of(asked, np.arange(len(asked)), LENGTH)
    return list(windows.parts(rows))


def test_what_begins_alike_is_read_once() -> None:
    place = world(LETTERS)
    (one,) = read(contexts(place, *steps("abcde")))
    assert one.before == 4  # a, b, c and d before others; each of the five was last once
    assert one.shape == (1, 4, 5)
    assert len(one.items) == 4 + 5
    assert sorted(one.question) == [0, 1, 2, 3, 4]


def test_a_person_beside_another_is_read_beside_him() -> None:
    place = world(LETTERS)
    people = [*steps("abc"), walk("abc", end=NOON - 3 * DAY), walk("j")]
    (one,) = read(contexts(place, *people))
    assert one.shape == (3, 2, 3)
    assert one.before == 2 + 2


@pytest.mark.parametrize("column", ["items", "times", "weight"])
def test_what_differs_in_between_is_not_shared(column: str) -> None:
    """Histories that begin with the same interaction may go on apart, such as by a merge."""
    place = world(LETTERS)
    asked = contexts(place, *steps("abcd")[1:])
    altered = getattr(asked, column).copy()
    altered[0, 0] += 1  # the latest of the first question is one that the others have too
    asked = replace(asked, **{column: altered})
    (one,) = read(asked)
    assert one.shape[0] == 2
    model = network("ligr", 2)
    found = served(model).users(asked, np.arange(len(asked)), Words())
    assert found == pytest.approx(by_the_whole(model, asked), rel=1e-4, abs=1e-5)


def test_windows_that_have_moved_on_are_read_apart() -> None:
    place = world(LETTERS)
    one = read(contexts(place, *steps("abcdefghi")[6:]))[0]
    assert one.shape == (3, LENGTH - 1, 1)


def test_histories_of_like_length_are_read_together() -> None:
    place = world(LETTERS)
    people = [walk("abcde"), walk("b"), walk("cdefgh"), walk("d")]
    assert [part.shape for part in read(contexts(place, *people), 2)] == [(2, 0, 1), (2, 5, 1)]


def test_nobody_is_no_trouble() -> None:
    place = world(LETTERS)
    asked = contexts(place, walk("ab"))
    none = np.zeros(0, dtype=np.int64)
    assert list(Windows.of(asked, none, LENGTH).parts(4)) == []
    assert served(network("ligr", 2)).users(asked, none, Words()).shape == (0, 16)


def test_a_query_counts_at_the_end_alone() -> None:
    model, asked = network("ligr", 2), contexts(world(LETTERS), *steps("abc"))
    (tokens,) = read(asked)
    dim = model.config.dim
    with torch.no_grad():
        table = model.items()
        plain = outputs(model, table, tokens, torch.zeros(3, dim))
        heard = torch.zeros(3, dim)
        heard[1] = 1
        other = outputs(model, table, tokens, heard)
    same = torch.isclose(plain, other, atol=1e-6).all(dim=1)
    assert same.tolist() == [True, False, True]


def long_walks() -> Contexts:
    """Return the questions of three people in the middle of long histories, and of a new one."""
    people = [
        one
        for begin in (NOON - DAY, NOON - 2 * DAY, NOON - 3 * DAY)
        for one in steps("abcdefghij" * 3, begin)[20:]
    ]
    return contexts(world(LETTERS), *people, walk("abc"))


def test_steady_windows_are_ends_of_histories_and_no_less_than_half() -> None:
    asked, most = long_walks(), 12
    everybody = np.arange(len(asked))
    plain = Windows.of(asked, everybody, most)
    steady = Windows.of(asked, everybody, most, steady=True)
    assert (plain.count[:-1] == most).all()
    assert (steady.count >= np.minimum(plain.count, most // 2)).all()
    assert (steady.count <= plain.count).all()
    assert len(np.unique(steady.count)) > 2
    assert (plain.count[-1], steady.count[-1]) == (3, 3)
    for row, count in enumerate(steady.count):
        end = asked.items[row, :count][::-1]
        assert steady.items[row, :count].tolist() == end.tolist()


def test_steady_windows_begin_where_the_next_one_does() -> None:
    asked, most = contexts(world(LETTERS), *steps("abcdefghij" * 6)[40:]), 32
    everybody = np.arange(len(asked))
    plain = sum(one.before for one in Windows.of(asked, everybody, most).parts(64))
    parts = list(Windows.of(asked, everybody, most, steady=True).parts(64))
    assert sum(one.before for one in parts) < plain / 2
    assert sum(len(one.seen) for one in parts) == len(asked)


@pytest.mark.parametrize("window", [0, 3, 5, LENGTH, 50])
def test_a_window_is_read_as_if_there_were_no_more(window: int) -> None:
    model, asked = network("ligr", 2), long_walks()
    everybody = np.arange(len(asked))
    network_of = served(model)
    network_of.window = window
    found = network_of.users(asked, everybody, Words())
    most = min(window or LENGTH, LENGTH)
    shorter = 0 < window < LENGTH
    count = Windows.of(asked, everybody, most, steady=shorter).count
    assert found == pytest.approx(by_the_whole(model, asked, count), rel=1e-4, abs=1e-5)
    whole = by_the_whole(model, asked)
    assert np.allclose(found[-1], whole[-1], atol=1e-4)
    assert np.allclose(found, whole, atol=1e-4) != shorter


def test_a_window_stays_when_the_catalogue_changes() -> None:
    model = network("ligr", 1)
    vectors = np.array([vector(one) for one in LETTERS])
    loaded = Loaded.of(model, "v", (1, len(vectors)), "fp32", 5)
    new = len(vectors) + np.arange(2)
    grown = loaded.over(new, vectors[:2], (2, len(vectors) + 2))
    assert (loaded.window, grown.window) == (5, 5)
    assert len(grown.items) == len(vectors) + 2


@pytest.mark.parametrize("block", ["ligr", "sasrec"])
@pytest.mark.parametrize("row", [2, 3, 9, 15])
def test_what_the_last_interaction_looks_at_makes_its_output(
    block: Literal["ligr", "sasrec"], row: int
) -> None:
    """In a network of one block, weights times values are what attention hands on."""
    model, asked = network(block, 1), contexts(world(LETTERS), *crowd())
    items, weights = served(model).gaze(asked, row, Words())
    assert weights.shape == (1, 2, len(items))
    assert weights.sum(axis=-1) == pytest.approx(np.ones((1, 2)), abs=1e-5)
    assert items.tolist() == asked.items[row, : len(items)][::-1].tolist()
    heard = []
    attention = model.blocks[0].attention
    assert isinstance(attention, Attention)
    attention.register_forward_hook(lambda _, given, out: heard.append((given[0], out[-1])))
    by_the_whole(model, contexts(world(LETTERS), crowd()[row]))
    ((normed, seen),) = heard
    value = attention.mix(normed).view(len(items), 3, 2, -1)[:, 2].detach()
    mixed = torch.einsum("ht,thd->hd", torch.from_numpy(weights[0]), value).flatten()
    assert attention.out(mixed).detach().numpy() == pytest.approx(seen.detach().numpy(), abs=1e-5)


def test_a_deep_networks_last_interaction_looks_by_all_blocks() -> None:
    model, asked = network("ligr", 3), contexts(world(LETTERS), *crowd())
    _, weights = served(model).gaze(asked, 2, Words())
    assert weights.shape[:2] == (3, 2)
    assert np.abs(weights[0] - weights[2]).max() > 1e-3


def test_who_took_nothing_looks_at_nothing() -> None:
    model = network("ligr", 2)
    items, weights = served(model).gaze(contexts(world(LETTERS), walk("ABC")), 0, Words())
    assert len(items) == 0
    assert weights.shape == (2, 2, 0)
