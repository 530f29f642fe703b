"""Tables and lists of facts as HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["facts", "picture", "table"]


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], label: str, *, numbers: Iterable[int] = ()
) -> str:
    """Return a table that scrolls by itself where it is too wide.

    Parameters
    ----------
    head, rows
        Cells as plain text.
    label
        What the table is of.
    numbers
        Columns, from 0, that stand to the right.
    """
    right = set(numbers)

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' scope=col' if tag == 'th' else ''}{' class=n' if at in right else ''}>"
            f"{escape(cell)}</{tag}>"
            for at, cell in enumerate(row)
        )

    lines = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    name = escape(label, quote=True)
    return (
        f'<div class="scroll" role="region" aria-label="{name}" tabindex="0"><table>'
        f'<caption class="hidden">{name}</caption>'
        f"<thead><tr>{cells('th', head)}</tr></thead><tbody>{lines}</tbody></table></div>"
    )


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Return facts by name."""
    lines = (
        f"<div><dt>{escape(name)}</dt><dd{' class=small' if len(value) > 14 else ''}>"
        f"{escape(value)}</dd></div>"
        for name, value in pairs
    )
    return f'<dl class="facts">{"".join(lines)}</dl>'


def picture(letter: str, hue: int, title: str) -> str:
    """Return an item's small picture, with its title for who cannot see it."""
    name = escape(title, quote=True)
    return (
        f'<span class="pic" style="--hue:{hue}" role="img" aria-label="{name}" title="{name}">'
        f"{escape(letter)}</span>"
    )
