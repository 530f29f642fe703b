"""Words of a text as a search looks for them, in any script.

Spelling that means the same becomes the same: full-width letters (NFKC), case, and the marks on
Latin, Greek and Cyrillic letters ("creme" finds "Crème"). Scripts that write no spaces between
words (Chinese, Japanese, Thai, Khmer ...), and Korean, whose endings grow onto its words, are cut
into pairs of neighbouring characters, as Lucene's CJKAnalyzer does, for a word in them begins
anywhere; single characters are kept beside, so that a query of one character finds something.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Final

__all__ = ["MOST", "words_of_query", "words_of_text"]

MOST: Final = 512
"""Words of one text at most; further ones are not looked for."""

UNSPACED: Final = (
    "\u0e01-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Burmese
    "\u1100-\u11ff\uac00-\ud7a3"  # Korean
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u2fdf\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
    "\u3041-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3105-\u312f"
)
"""Letters of scripts that are cut into pairs, as ranges of a regular expression."""

_MARKS: Final = re.compile("[\u0300-\u036f]")


@cache
def _runs() -> re.Pattern[str]:
    """Return what finds runs of letters: those to be cut into pairs in group 1."""
    # `\w` has no vowel signs, without which a word of Hindi or Tamil falls to pieces
    marks = "".join(
        chr(code)
        for code in range(0x300, 0x10000)
        if unicodedata.category(chr(code)) in ("Mn", "Mc")
    )
    return re.compile(rf"([{UNSPACED}]+)|((?:(?![{UNSPACED}_])[\w{marks}])+)")


def _plain(text: str) -> str:
    r"""Return the text as it is compared.

    Examples
    --------
    >>> _plain("Ｃｒème BRÛLÉE"), _plain("がﾊﾟ")
    ('creme brulee', 'がパ')
    """
    if text.isascii():
        return text.lower()
    valid = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no character
    folded = unicodedata.normalize("NFKC", valid).casefold()
    bare = _MARKS.sub("", unicodedata.normalize("NFKD", folded))
    return unicodedata.normalize("NFKC", bare)


def _words(text: str, *, singles: bool) -> Iterator[str]:
    for run in _runs().finditer(_plain(text)):
        letters = run.group()
        if run.group(1) is None:
            yield letters
            continue
        if singles or len(letters) == 1:
            yield from letters
        for first, second in zip(letters, letters[1:], strict=False):
            yield first + second


def words_of_text(text: str) -> list[str]:
    """Return the words of a text that is to be found, in their order.

    Examples
    --------
    >>> words_of_text("Tea-cup, No. 2")
    ['tea', 'cup', 'no', '2']
    >>> words_of_text("東京タ iPhone用")
    ['東', '京', 'タ', '東京', '京タ', 'iphone', '用']
    """
    return list(islice(_words(text, singles=True), MOST))


def words_of_query(text: str) -> list[str]:
    """Return the words of a query, each once, in their order.

    Where there are pairs, single characters are not looked for: they are in too many texts.

    Examples
    --------
    >>> words_of_query("東京タ 用 cup CUP")
    ['東京', '京タ', '用', 'cup']
    """
    return list(dict.fromkeys(islice(_words(text, singles=False), MOST)))
