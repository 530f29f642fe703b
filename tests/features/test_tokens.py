"""Words of texts and queries in many scripts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.tokens import MOST, words_of_query, words_of_text


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("東京タワーの写真", "タワー"),
        ("智能手表 运动版", "手表"),
        ("スマートウォッチ", "ｽﾏｰﾄ"),  # half width
        ("Ｓｍａｒｔ　ｗａｔｃｈ", "smart watch"),  # full width
        ("iPhone15用ケース", "iphone15 ケース"),
        ("한국어로 쓴 책", "한국"),
        ("นาฬิกาอัจฉริยะ", "อัจฉริยะ"),
        ("हिन्दी की किताब", "हिन्दी"),
        ("Crème BRÛLÉE", "creme brulee"),
        ("Straße", "STRASSE"),
        ("Ёлка", "елка"),
        ("WH-1000XM4", "1000xm4"),
        ("が", "か\u3099"),  # composed, and not
    ],
)
def test_a_query_finds_its_words(text: str, query: str) -> None:
    asked = words_of_query(query)
    assert asked
    assert set(asked) <= set(words_of_text(text))


@pytest.mark.parametrize(
    ("text", "query"), [("が", "か"), ("東京", "京東"), ("हिन्दी", "हन"), ("teacup", "tea")]
)
def test_what_is_another_word_is_not_found(text: str, query: str) -> None:
    assert not set(words_of_query(query)) & set(words_of_text(text))


def test_one_character_is_found_where_it_stands_among_others() -> None:
    assert words_of_query("茶") == ["茶"]
    assert "茶" in words_of_text("抹茶の碗")


def test_pairs_do_not_reach_over_what_is_between() -> None:
    assert "京大" not in words_of_text("東京、大阪")
    assert "京大" not in words_of_text("東京 大阪")


@pytest.mark.parametrize("text", ["", " \n\t", "!?.,:;", "_", "\ud800", "🙂"])
def test_what_has_no_word_has_none(text: str) -> None:
    assert words_of_query(text) == words_of_text(text) == []


@given(st.text(max_size=200))
def test_any_text_is_cut_and_a_text_finds_itself(text: str) -> None:
    assert set(words_of_query(text)) <= set(words_of_text(text))
    assert len(set(words_of_query(text))) == len(words_of_query(text))
    assert all(words_of_text(word) for word in words_of_text(text))


@pytest.mark.parametrize("text", ["word " * 10_000, "字" * 100_000])
def test_of_a_long_text_the_first_words_count(text: str) -> None:
    assert len(words_of_text(text)) == MOST
    assert len(words_of_query(text)) == 1
