"""Bars as HTML: a name, a length, a figure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

__all__ = ["bars"]


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
