"""What the sequence Transformer expects next, from a tiny model of the alphabet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from features.card import AsOf, ItemCard
from features.catalogue import MAX_CHANGES
from features.session import Session
from models.endings import outputs
from models.loaded import Loaded
from models.precision import serving_dtype
from models.sequence import SequenceModel
from models.sources.base import World
from models.sources.transformer import MOST_ODDS, Transformer
from models.windows import Tokens
from tests.builders import DAY, MINUTE, NOON, folded, interaction, search
from tests.models.sources.shop import STRANGER, Words, contexts, put, scored, table, visits, world
from tests.models.sources.tiny import LETTERS, alphabet, serve, vector


def shop(letters: str = LETTERS) -> World:
    """Return a world that has these letters, with their contents."""
    place = world(letters)
    for letter in letters:
        put(place, letter, vector=vector(letter).tolist())
    return place


def served(letters: str = LETTERS) -> tuple[Transformer, World]:
    place = shop(letters)
    source = Transformer(place)
    serve(source, place)
    return source, place


def walk(items: str) -> Session:
    """Return who took these letters a minute apart, the last one a minute before noon."""
    begin = NOON - len(items) * MINUTE
    return folded([interaction(one, begin + k * MINUTE) for k, one in enumerate(items)])


def first(scores: dict[str, float]) -> str:
    return max(scores, key=scores.__getitem__)


def test_without_a_model_it_says_nothing() -> None:
    place = shop()
    source = Transformer(place)
    assert source.version == ""
    assert scored(source, place, walk("abc")) == {}
    assert source.state() == {}


@pytest.mark.parametrize("letters", [LETTERS, LETTERS[::-1], "hcaj" + LETTERS[:2] + "defgi"])
def test_the_planted_next_letter_leads_wherever_the_rows_are(letters: str) -> None:
    source, place = served("".join(dict.fromkeys(letters)))
    for k in range(len(LETTERS)):
        taken = "".join(LETTERS[(k + step) % 10] for step in range(3))
        assert first(scored(source, place, walk(taken))) == LETTERS[(k + 3) % 10]


def test_a_score_is_the_chance_against_an_even_guess() -> None:
    source, place = served()
    scores = scored(source, place, walk("bcd"))
    assert 5 < scores["e"] < 9  # of 10 items nothing is likelier than ten times an even guess
    assert scores["e"] + 1 <= 10
    assert all(score > 0 for score in scores.values())


def test_odds_beyond_all_measure_stay_finite() -> None:
    source, place = served()
    model = alphabet().over(place.catalogue.vectors.copy())
    with torch.no_grad():
        model.norm.weight.mul_(1e4)
    source.swap(Loaded.of(model, "hot", source.place()[1]))
    scores = table(source, contexts(place, walk("abc"), walk("fgh")))
    assert np.isfinite(scores).all()
    assert scores.max() <= np.expm1(MOST_ODDS)


@pytest.mark.parametrize("closed", ["", "d", "bdfh"])
@pytest.mark.parametrize("heat", [1.0, 30.0])
def test_scores_are_those_of_the_plain_formula(closed: str, heat: float) -> None:
    """In double precision; so many rows that they are not worked on all at once."""
    place = shop()
    source = Transformer(place)
    model = alphabet().over(place.catalogue.vectors.copy())
    with torch.no_grad():
        model.norm.weight.mul_(heat)
    for letter in closed:
        card = ItemCard(AsOf(0, 0, 1), letter, withdrawn=True)
        place.catalogue.apply([card], vector(letter)[None])
    loaded = Loaded.of(model, "v", source.place()[1], "fp32")
    source.swap(loaded)
    asked = contexts(place, *(walk((LETTERS * 3)[k : k + 1 + k % 6]) for k in range(20)))
    odds = loaded.users(asked, np.arange(20), Words()).astype(np.float64) @ loaded.items.T
    alive = place.catalogue.alive
    assert alive.sum() == len(LETTERS) - len(closed)
    most = odds[:, alive].max(axis=1, keepdims=True)
    even = np.log(np.exp(odds[:, alive] - most).mean(axis=1, keepdims=True)) + most
    lift = np.maximum(np.expm1(np.minimum(odds - even, MOST_ODDS)), 0)
    assert table(source, asked) == pytest.approx(lift, rel=1e-4, abs=1e-5)


def test_in_halves_it_says_nearly_the_same() -> None:
    source, place = served()
    people = [walk(LETTERS[k : k + 3]) for k in range(8)]
    exact = table(source, contexts(place, *people))
    vectors, seen = source.place()
    source.swap(Loaded.of(alphabet().over(vectors), "halves", seen, "bf16"))
    halves = table(source, contexts(place, *people))
    assert not np.array_equal(halves, exact)
    assert np.log1p(halves) == pytest.approx(np.log1p(exact), abs=0.1)
    assert (halves.argmax(axis=1) == exact.argmax(axis=1)).all()


@pytest.mark.parametrize("has", ["avx512_bf16", "amx_bf16", ""])
def test_halves_are_for_processors_that_have_them(
    has: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {"avx512_bf16": False, "amx_bf16": False, "avx2": True, "cpu_name": "bf16"}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: told | {has: True}, raising=False)
    assert serving_dtype("auto") == (torch.bfloat16 if has else torch.float32)


def test_sequences_of_like_length_are_computed_together_and_none_is_mixed_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source, place = served()
    people = [walk((LETTERS * 2)[k : k + 1 + k % 5]) for k in range(10)]
    shapes: list[tuple[int, int, int]] = []

    def watched(model: SequenceModel, table: Tensor, tokens: Tokens, asked: Tensor) -> Tensor:
        shapes.append(tokens.shape)
        return outputs(model, table, tokens, asked)

    monkeypatch.setattr("models.loaded.outputs", watched)
    whole = table(source, contexts(place, *people))
    assert shapes == [(10, 4, 1)]  # not longer than it has to be
    shapes.clear()
    monkeypatch.setattr("models.loaded.ROWS", 4)
    parted = table(source, contexts(place, *people))
    assert shapes == [(4, 1, 1), (4, 3, 1), (2, 4, 1)]
    assert parted == pytest.approx(whole, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_the_size_of_a_batch_changes_no_score(size: int) -> None:
    source, place = served()
    people = [
        walk("a"),
        STRANGER,
        walk("bcdefghij"),  # longer than the model reads
        visits("ab", "cd", disliked="b"),
        folded([interaction("c", NOON - 9), search("tea", NOON - 5)]),
        walk("gh"),
        folded([interaction("e", NOON - DAY), search("hats", NOON - 5)]),
    ]
    together = table(source, contexts(place, *people))
    for begin in range(0, len(people), size):
        part = table(source, contexts(place, *people[begin : begin + size]))
        assert part == pytest.approx(together[begin : begin + size], rel=1e-5, abs=1e-5)


def test_a_history_longer_than_it_reads_counts_by_its_end() -> None:
    source, place = served()
    known = alphabet().config.length
    long = "jihgf" + LETTERS[:known]
    # What came before is no part of the answer, as little as that there was something.
    whole, end = (table(source, contexts(place, walk(items))) for items in (long, long[-known:]))
    assert whole == pytest.approx(end, rel=1e-5)
    assert place.catalogue.ids[whole[0].argmax()] == LETTERS[known]


def test_what_is_hidden_is_not_known() -> None:
    source, place = served()
    person = walk("abcfg")
    times = person.history.times
    hidden = scored(source, place, person, before=times[3])
    assert first(hidden) == "d"
    assert first(scored(source, place, person)) == "h"
    assert scored(source, place, person, before=times[0]) == {}


def test_who_took_nothing_is_told_nothing() -> None:
    source, place = served()
    looked = folded([search("tea", NOON)])
    hater = visits("abc", disliked="abc")
    odd = folded([interaction("a", NOON - 9, type="unheard-of")])
    assert not table(source, contexts(place, STRANGER, looked, hater, odd)).any()


def test_a_query_counts() -> None:
    source, place = served()
    taken = [interaction("c", NOON - MINUTE)]
    plain, tea, hats = (
        scored(source, place, folded([*taken, *asked]))
        for asked in ([], [search("tea", NOON)], [search("hats", NOON)])
    )
    assert plain != tea != hats


def test_the_time_that_has_passed_counts() -> None:
    source, place = served()
    person = walk("abc")
    assert scored(source, place, person) != scored(source, place, person, now=NOON + 30 * DAY)


def test_what_is_withdrawn_takes_no_share() -> None:
    source, place = served()
    second = sorted(table(source, contexts(place, walk("abc")))[0])[-2]
    gone = ItemCard(AsOf(0, 0, 1), "d", withdrawn=True)
    place.catalogue.apply([gone], vector("d")[None])
    scores = table(source, contexts(place, walk("abc")))[0]
    assert not place.catalogue.alive[place.catalogue.index["d"]]
    assert scores[place.catalogue.alive].max() > second + 1  # the rest shares the whole
    for row in np.flatnonzero(place.catalogue.alive):
        card = ItemCard(AsOf(0, 0, 2), place.catalogue.ids[row], withdrawn=True)
        place.catalogue.apply([card], np.zeros((1, 2), np.float32))
    assert not table(source, contexts(place, walk("abc"))).any()


def test_an_item_that_appeared_later_is_recommended_by_its_content() -> None:
    source, place = served()
    without = scored(source, place, walk("abc"))
    put(place, "twin", vector=vector("d").tolist())
    put(place, "bare")
    scores = scored(source, place, walk("abc"))
    names = sorted(scores, key=scores.__getitem__, reverse=True)
    assert {"d", "twin"} == set(names[:2])
    assert scores["twin"] > 10 * scores.get("bare", 0.0)
    assert first(without) == "d"


def test_a_card_that_comes_later_is_read() -> None:
    """The catalogue knew the item by its name alone."""
    source, place = served(LETTERS)
    place.catalogue.ensure("twin")
    before = scored(source, place, walk("abc")).get("twin", 0.0)
    put(place, "twin", vector=vector("d").tolist())
    assert scored(source, place, walk("abc"))["twin"] > before + 1


def test_a_swap_changes_the_version_and_what_is_said() -> None:
    source, place = served()
    assert source.version == "tiny"
    assert first(scored(source, place, walk("bcd"))) == "e"
    serve(source, place, "backwards", step=-1)
    assert source.version == "backwards"
    assert first(scored(source, place, walk("dcb"))) == "a"
    put(place, "new")
    scored(source, place, walk("bcd"))
    assert source.version == "backwards"


def test_a_catalogue_that_has_not_changed_is_not_encoded_again() -> None:
    source, place = served()
    scored(source, place, walk("abc"))
    kept = source._loaded
    scored(source, place, walk("bcd"))
    assert source._loaded is kept
    put(place, "new", vector=(1, 0))
    scored(source, place, walk("bcd"))
    assert source._loaded is not kept


def test_more_changes_than_the_catalogue_remembers_are_encoded_too() -> None:
    source, place = served()
    scored(source, place, walk("abc"))
    put(place, "twin", vector=vector("d").tolist())
    for _ in range(MAX_CHANGES + 1):
        put(place, "bare")
    found = scored(source, place, walk("abc"))
    serve(source, place)
    assert found == pytest.approx(scored(source, place, walk("abc")), rel=1e-4)
    assert found["twin"] > 1


def test_what_changed_in_the_catalogue_is_encoded_as_all_of_it_would_be() -> None:
    before = np.array([vector(one) for one in LETTERS], dtype=np.float32)
    model = alphabet().over(before)
    after = np.concatenate([before, before[:2] + np.float32(0.3), np.zeros((1, 2), np.float32)])
    after[3] = after[5]
    whole, old = Loaded.of(model.over(after), "v", (2, len(after))), model.items()
    rows = np.array([3, *range(len(before), len(after))])
    grown = Loaded.of(model, "v", (1, len(before))).over(rows, after[rows], (2, len(after)))
    assert torch.allclose(grown.table, whole.table, atol=1e-6)
    assert not torch.allclose(grown.table[3], old[3], atol=1e-3)
    assert (grown.version, grown.seen) == ("v", (2, len(after)))


def test_items_that_come_one_by_one_are_written_where_there_is_room() -> None:
    before = np.array([vector(one) for one in LETTERS], dtype=np.float32)
    after = np.concatenate([before, np.random.default_rng(0).normal(size=(60, 2))])
    after = after.astype(np.float32)
    model, first = alphabet().over(before), len(before)
    whole = Loaded.of(model.over(after), "v", (0, len(after)))
    loaded, memory = Loaded.of(model, "v", (0, first)), set()
    for size in range(first + 1, len(after) + 1):
        new = np.arange(size - 1, size)
        loaded = loaded.over(new, after[new], (size, size))
        memory.add(loaded.table.data_ptr())
        assert loaded.items.shape == (size, loaded.table.shape[1])
        assert torch.allclose(loaded.table, whole.table[:size], atol=1e-6)
    assert 1 < len(memory) < 30  # copied now and then, and not for each of them


def test_a_model_that_is_served_again_takes_over_what_came_since() -> None:
    source, place = served()
    kept = source._loaded
    put(place, "new", vector=vector("b").tolist())
    scored(source, place, walk("abc"))
    put(place, "newer", vector=vector("d").tolist())
    put(place, "bare")
    found = scored(source, place, walk("abc"))
    source.swap(kept)
    assert found == pytest.approx(scored(source, place, walk("abc")), rel=1e-4)
    assert found["newer"] > 1
