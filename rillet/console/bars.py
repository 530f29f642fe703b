"""Bars as HTML: a name, a length, a figure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from rillet.console.curves import COLOURS, legend

__all__ = ["bars", "stack"]


def bars(rows: Sequence[tuple[str, float, str]], label: str, *, main: str = "") -> str:
    """Return a list of bars.

    Parameters
    ----------
    rows
        Name, value (not negative) and the value in words of each.
    label
        What the bars are of.
    main
        The name whose bar stands out.
    """
    most = max((value for _, value, _ in rows), default=0.0) or 1.0
    lines = (
        f"<li><span>{escape(name)}</span>"
        f'<span class="track"><span class="fill{" main" if name == main else ""}" '
        f'style="width:{value / most * 100:.1f}%"></span></span>'
        f'<span class="val">{escape(words)}</span></li>'
        for name, value, words in rows
    )
    return f'<ul class="bars" aria-label="{escape(label, quote=True)}">{"".join(lines)}</ul>'


def stack(rows: Sequence[tuple[str, float]], label: str) -> str:
    """Return the largest shares side by side as one bar, with what each is.

    Parameters
    ----------
    rows
        Name and share of each, the largest first.
    label
        What the bar is of.
    """
    shown = [(name, share) for name, share in rows[:COLOURS] if share > 0]
    total = sum(share for _, share in shown) or 1.0
    parts = "".join(
        f'<i class="k{at}" style="width:{share / total * 100:.1f}%"></i>'
        for at, (_, share) in enumerate(shown)
    )
    names = [f"{name} {share:.0%}" for name, share in shown]
    return f'<div class="stack" aria-hidden="true">{parts}</div>{legend(names, label)}'
