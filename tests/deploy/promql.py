"""Enough of PromQL to tell which metrics and labels are named, and to refuse what is broken."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Expression", "Selector", "parse"]

TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>"(?:[^"\\]|\\.)*")
    |(?P<duration>(?:\d+(?:ms|[smhdwy]))+\b)
    |(?P<number>\d+(?:\.\d+)?\b)
    |(?P<variable>\$\w+)
    |(?P<name>[a-zA-Z_:][\w:]*)
    |(?P<matcher>!=|=~|!~|=(?!=))
    |(?P<operator>==|<=|>=|[-+*/%^<>])
    |(?P<comma>,)
    |(?P<open>[({\[])
    |(?P<close>[)}\]])""",
    re.VERBOSE,
)
PAIRS = {"(": ")", "{": "}", "[": "]"}
AGGREGATIONS = {"sum", "min", "max", "avg", "count", "topk", "bottomk", "quantile"}
OVER_TIME = {"rate", "irate", "increase"}
FUNCTIONS = OVER_TIME | {"absent", "histogram_quantile", "time", "clamp_min", "clamp_max"}
LABELLED = {"by", "without", "on", "ignoring", "group_left", "group_right"}
SETS = {"or", "and", "unless", "bool"}


@dataclass
class Selector:
    """A metric, the labels that it is chosen by, and the functions around it."""

    metric: str
    labels: set[str] = field(default_factory=set)
    within: list[str] = field(default_factory=list)
    ranged: bool = False


@dataclass
class Expression:
    """What an expression names."""

    selectors: list[Selector] = field(default_factory=list)
    grouped: set[str] = field(default_factory=set)


def tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    while at < len(text):
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"{text!r} cannot be read at {text[at : at + 10]!r}")
        at = match.end()
        if match.lastgroup != "space":
            found.append((str(match.lastgroup), match.group()))
    return [*found, ("end", "")]


def parse(text: str) -> Expression:
    """Return what an expression names.

    Raises
    ------
    ValueError
        It is malformed, uses a function that is not known here, or a rate of no range.
    """
    found, around = Expression(), list[tuple[str, str]]()  # the bracket, and whose it is
    before, several = ("begin", ""), tokens(text)
    for place, (kind, word) in enumerate(several[:-1]):
        following = several[place + 1]
        inside = around[-1][0] if around else ""
        if kind == "open":
            around.append((word, before[1] if before[0] == "name" else ""))
            if word == "[" and found.selectors:
                found.selectors[-1].ranged = True
        elif kind == "close":
            if not around or PAIRS[around.pop()[0]] != word:
                raise ValueError(f"{text!r} has a {word} too many")
        elif inside == "[":
            if kind not in ("duration", "variable"):
                raise ValueError(f"{word} in {text!r} is no time")
        elif inside == "{":
            _match(found.selectors[-1], kind, word, before, following, text)
        elif kind == "matcher":
            raise ValueError(f"{word} in {text!r} is not within braces")
        elif kind == "name":
            _name(found, word, following, [one for _, one in around], text)
        before = (kind, word)
    if around:
        raise ValueError(f"{text!r} has a {around[-1][0]} too many")
    _check_ranges(found, text)
    return found


def _check_ranges(found: Expression, text: str) -> None:
    for one in found.selectors:
        if one.ranged != bool(one.within and one.within[-1] in OVER_TIME):
            raise ValueError(
                f"{one.metric} in {text!r}: a range belongs into a rate, and only there"
            )


def _match(
    selector: Selector,
    kind: str,
    word: str,
    before: tuple[str, str],
    following: tuple[str, str],
    text: str,
) -> None:
    """Read a part of what lies within braces: label, matcher, string, comma."""
    if kind == "name" and following[0] == "matcher":
        selector.labels.add(word)
    elif not (
        (kind == "matcher" and following[0] == "string")
        or (kind == "string" and before[0] == "matcher")
        or (kind == "comma" and before[0] == "string")
    ):
        raise ValueError(f"{word} in {text!r} is no match of a label")


def _name(
    found: Expression, word: str, following: tuple[str, str], owners: list[str], text: str
) -> None:
    if owners and owners[-1] in LABELLED:
        found.grouped.add(word)
    elif word in LABELLED | SETS:
        return
    elif following[1] == "(" or following[1] in LABELLED:
        if word not in FUNCTIONS | AGGREGATIONS:
            raise ValueError(f"{word} in {text!r} is no function that is known here")
    else:
        found.selectors.append(Selector(word, within=[one for one in owners if one]))
