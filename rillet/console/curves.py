"""Curves over time as SVG, in the colours of the theme."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Final, NamedTuple

from stream.store import DAY_MS

__all__ = ["COLOURS", "Curve", "curves", "legend"]

COLOURS: Final = 6

WIDTH: Final = 640
HEIGHT: Final = 220
LEFT: Final = 64
BOTTOM: Final = 32
TOP: Final = 16
RULES: Final = 4


class Curve(NamedTuple):
    """Values at rising times; both of one length."""

    times: Sequence[float]
    values: Sequence[float]


def curves(
    found: Mapping[str, Curve],
    label: str,
    *,
    form: Callable[[float], str] = "{:.2f}".format,
    moment: Callable[[float], str] | None = None,
) -> str:
    """Return a picture of curves, the first of which stands out, with a legend.

    Parameters
    ----------
    found
        Curves by name, at most as many as there are colours.
    label
        What the picture shows.
    form
        Writes a value.
    moment
        Writes a time; None takes times for epoch milliseconds.
    """
    drawn = {name: one for name, one in list(found.items())[:COLOURS] if len(one.times)}
    if not drawn:
        return '<p class="soft">Nothing to draw yet.</p>'
    first = min(one.times[0] for one in drawn.values())
    last = max(one.times[-1] for one in drawn.values())
    top = _round(max(max(one.values) for one in drawn.values()))

    def place(time: float, value: float) -> str:
        x = LEFT + (time - first) / max(last - first, 1) * (WIDTH - LEFT - 6)
        y = TOP + (1 - value / top) * (HEIGHT - TOP - BOTTOM)
        return f"{x:.1f},{y:.1f}"

    parts = [_rules(top, form), _times(first, last, moment)]
    for number, (name, one) in reversed(list(enumerate(drawn.items()))):
        points = " ".join(map(place, one.times, one.values))
        points = points if len(one.times) > 1 else f"{points} {points}"  # round ends make it a dot
        title = f"{name}: last {form(one.values[-1])}"
        parts.append(
            f'<polyline class="line k{number}" points="{points}"><title>{escape(title)}</title>'
            "</polyline>"
        )
    told = "; ".join(f"{name} {form(one.values[-1])}" for name, one in drawn.items())
    return (
        f'<figure><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(f"{label}. Last values: {told}", quote=True)}">'
        f"{''.join(parts)}</svg>{legend(list(drawn))}</figure>"
    )


def legend(names: Sequence[str], label: str = "") -> str:
    """Return which colour is whose, and of what where that is not said beside it."""
    lines = (
        f'<li><i class="k{number}"></i>{escape(name)}</li>' for number, name in enumerate(names)
    )
    about = f' aria-label="{escape(label, quote=True)}"' if label else ""
    return f'<ul class="legend"{about}>{"".join(lines)}</ul>'


def _round(value: float) -> float:
    """Return a value that is not smaller, and easily divided by the rules.

    Examples
    --------
    >>> _round(0.37), _round(812), _round(0)
    (0.4, 1000.0, 1.0)
    """
    if value <= 0:
        return 1.0
    size = 10.0 ** len(str(int(value))) if value >= 1 else 1.0
    while size / 10 >= value:
        size /= 10
    steps = (0.1, 0.12, 0.16, 0.2, 0.24, 0.32, 0.4, 0.6, 0.8, 1)
    return next(float(f"{size * step:.6g}") for step in steps if size * step >= value)


def _rules(top: float, form: Callable[[float], str]) -> str:
    parts = []
    for number in range(RULES + 1):
        y = TOP + (1 - number / RULES) * (HEIGHT - TOP - BOTTOM)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>')
        words = escape(form(top * number / RULES))
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{words}</text>')
    return "".join(parts)


def _times(first: float, last: float, moment: Callable[[float], str] | None) -> str:
    form = "%d %b" if last - first > 2 * DAY_MS else "%H:%M:%S"

    def dated(time: float) -> str:
        return f"{dt.datetime.fromtimestamp(time / 1000, dt.UTC):{form}}"

    write = moment or dated
    parts = []
    shares = ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    for share, anchor in shares if last > first else shares[:1]:
        x = LEFT + share * (WIDTH - LEFT - 6)
        words = escape(write(first + (last - first) * share))
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{words}</text>')
    return "".join(parts)
