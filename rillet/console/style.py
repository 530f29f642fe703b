"""How the console looks: its style sheet, its theme, the page that asks for a key."""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["CSS", "STATIC", "THEME", "login_page"]

STATIC: Final = Path(__file__).parent / "static"

CSS: Final = (STATIC / "console.css").read_text("utf-8")

THEME: Final = (
    "try{const t=localStorage.getItem('rillet-theme');"
    "if(t)document.documentElement.dataset.theme=t}catch(e){}"
)
"""Runs before anything is painted: what was chosen last, else what the system says."""


def login_page(problem: str = "") -> str:
    """Return the page that asks for a key; what is wrong with the last one is HTML."""
    told = f'<p class="problem" role="alert">{problem}</p>' if problem else ""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Rillet: log in</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<script>{THEME}</script><style>{CSS}</style></head>"
        '<body class="rl"><main class="login"><h1>Rillet</h1>'
        "<p>This console is for holders of a key: <code>rillet serve --new-key read+write</code> "
        "makes one.</p>"
        f'<form method="post">{told}<label for="key">Key</label>'
        '<input id="key" name="key" type="password" autocomplete="current-password" required '
        'autofocus><button class="primary" type="submit">Log in</button></form></main></body>'
        "</html>"
    )
