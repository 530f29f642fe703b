"""What is around every page: the head, the ways to the others, the theme."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final, TypeVar
from urllib.parse import quote

from nicegui import ui
from nicegui.elements.mixins.text_element import TextElement

from rillet.console.style import CSS, THEME

__all__ = ["MOUNT", "element", "frame", "heading", "panel", "text", "user_field"]

Made = TypeVar("Made", bound=ui.element)

MOUNT: Final = "/console"

PAGES: Final = (
    ("", "Try it"),
    ("user", "User"),
    ("operations", "Operations"),
    ("quality", "Quality"),
)

TOGGLE: Final = """() => {
  const root = document.documentElement;
  const dark = root.dataset.theme
    ? root.dataset.theme === 'dark'
    : matchMedia('(prefers-color-scheme: dark)').matches;
  root.dataset.theme = dark ? 'light' : 'dark';
  try { localStorage.setItem('rillet-theme', root.dataset.theme); } catch (e) {}
}"""


def element(tag: str, classes: str = "", /, **attributes: object) -> ui.element:
    """Make an HTML element; ``aria_label`` and the like are written with an underscore."""
    return _with(ui.element(tag), classes, attributes)


def text(tag: str, words: str, classes: str = "", /, **attributes: object) -> TextElement:
    """Make an HTML element that holds a text."""
    return _with(TextElement(tag=tag, text=words), classes, attributes)


def _with(made: Made, classes: str, attributes: Mapping[str, object]) -> Made:
    if classes:
        made.classes(classes)
    for name, value in attributes.items():
        made.props[name.rstrip("_").replace("_", "-")] = value
    return made


def heading(words: str, level: int = 2) -> TextElement:
    """Make a heading."""
    return text(f"h{level}", words)


@contextmanager
def panel(title: str, classes: str = "") -> Iterator[ui.element]:
    """Make a part of a page, with its heading."""
    with element("section", f"panel {classes}", aria_label=title) as made:
        heading(title)
        yield made


def user_field(words: str, user: str, users: Iterable[str]) -> None:
    """Make the field of a form that names a user, with users to choose from.

    Parameters
    ----------
    words
        What it is called.
    user
        Who stands there.
    users
        Who is offered.
    """
    with element("div", "field"):
        text("label", words, for_="user")
        element("input", id="user", name="user", value=user, list="users")
        with element("datalist", id="users"):
            for name in users:
                element("option", value=name)


@contextmanager
def frame(here: str, user: str, *, locked: bool) -> Iterator[None]:
    """Make a page's frame.

    Parameters
    ----------
    here
        The last part of the page's path.
    user
        Whom it is about; the ways to other pages keep him.
    locked
        Whether there are keys, and so a way to log out.
    """
    title = next(name for path, name in PAGES if path == here)
    ui.page_title(f"{title}: Rillet")
    ui.add_head_html(f"<script>{THEME}</script><style>{CSS}</style>")
    ui.query("body").classes("rl")
    with ui.header(fixed=False, elevated=False, add_scroll_padding=False).classes("top"):
        text("a", "Skip to the content", "skip", href="#main")
        text("a", "Rillet", "brand", href=f"{MOUNT}/")
        with element("nav", aria_label="Pages"), element("ul"):
            for path, name in PAGES:
                with element("li"):
                    way = f"{MOUNT}/{path}" + (f"?user={quote(user, safe='')}" if user else "")
                    link = text("a", name, href=way)
                    if path == here:
                        link.props["aria-current"] = "page"
        with element("div", "right"):
            text("a", "HTTP API", href="/docs")
            text("button", "Light or dark", type="button").on("click", js_handler=TOGGLE)
            if locked:
                text("a", "Log out", href=f"{MOUNT}/logout")
    with element("div", "page", id="main", tabindex="-1"):
        yield
