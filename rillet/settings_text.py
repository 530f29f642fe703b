"""All settings as text: the file that ``rillet init`` writes, and the page docs/settings.md.

Both come from the model itself, so neither can be out of step with it.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
from collections.abc import Iterator
from typing import Any, Final, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from stream.settings import InteractionType, Settings

__all__ = ["settings_markdown", "settings_toml"]

INTERACTIONS: Final = "interactions"

BOUNDS: Final = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >="}

TOML_HEAD: Final = """\
# Settings of Rillet. Each line that is commented out shows the default.
#
# A variable wins over this file: RILLET_KAFKA__BOOTSTRAP=broker:9092 sets
# kafka.bootstrap. A name that does not exist is an error, in either place.
"""

INTERACTIONS_HEAD: Final = """\
# What each type of interaction means. role: positive, negative or neutral; weight:
# its worth beside others; positive_from: at or above this value it is positive,
# below it negative. A type that is not listed is neutral.
[interactions]
"""

MARKDOWN_HEAD: Final = """\
# Settings

<!-- Written by `python -m rillet.settings_text`; a test holds it in step. -->

Rillet reads its settings once, at the start: the defaults below, then a TOML file, then
the environment; the later one wins. The file is the one named by `--settings`, else by
`$RILLET_SETTINGS`, else `rillet.toml` in the current folder. `rillet init` writes a
commented one. A name that does not exist is an error that names the nearest one.

A variable begins with `RILLET_` and joins nested names by two underscores:
`RILLET_KAFKA__BOOTSTRAP=broker:9092`; lists are split by commas:
`RILLET_SOURCES__ENABLED=neighbours,content`.
"""

INTERACTIONS_TEXT: Final = """\
What each type of interaction means. A type of your own is one more table:

```toml
[interactions.wishlist]
weight = 2.0

[interactions.rating]      # 4 and 5 stars are positive, fewer negative
positive_from = 4
```
"""


def settings_toml() -> str:
    """Return a settings file in which every setting stands, commented out, with its default."""
    parts = [TOML_HEAD]
    for name, model in _groups():
        lines = [f"# {_about(model)}", f"[{name}]"]
        for field, info in model.model_fields.items():
            lines += [f"# {note}" for note in [_note(info)] if note]
            default = info.get_default(call_default_factory=True)
            lines.append(f"#{field} = {_toml(default)}" if default is not None else f"#{field} =")
        parts.append("\n".join(lines) + "\n")
    parts.append(INTERACTIONS_HEAD + "\n".join(_interaction_lines()) + "\n")
    return "\n".join(parts)


def _interaction_lines() -> Iterator[str]:
    for kind, meaning in Settings().interactions.items():
        values = {n: v for n, v in meaning.model_dump().items() if v is not None}
        body = ", ".join(f"{name} = {_toml(value)}" for name, value in values.items())
        yield f"#{kind} = {{ {body} }}"


def settings_markdown() -> str:
    """Return the page docs/settings.md."""
    parts = [MARKDOWN_HEAD]
    for name, model in _groups():
        parts.append(f"## {name}\n\n{_about(model)}\n\n" + _table(model))
    rows = ["| type | role | weight | positive from |", "|---|---|---|---|"]
    for kind, meaning in Settings().interactions.items():
        start = "" if meaning.positive_from is None else f"{meaning.positive_from:g}"
        rows.append(f"| `{kind}` | {meaning.role} | {meaning.weight:g} | {start} |")
    table = _table(InteractionType) + "\n" + "\n".join(rows) + "\n"
    parts.append(f"## {INTERACTIONS}\n\n{INTERACTIONS_TEXT}\n{table}")
    return "\n".join(parts)


def _groups() -> Iterator[tuple[str, type[BaseModel]]]:
    for name, info in Settings.model_fields.items():
        kind = info.annotation
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            yield name, kind


def _about(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _table(model: type[BaseModel]) -> str:
    rows = ["| setting | default | |", "|---|---|---|"]
    for field, info in model.model_fields.items():
        default = info.get_default(call_default_factory=True)
        shown = "" if default is None else f"`{_toml(default)}`"
        rows.append(f"| `{field}` | {shown} | {_note(info).replace('|', 'or')} |")
    return "\n".join(rows) + "\n"


def _note(info: FieldInfo) -> str:
    """Return what a setting is for, and which values it takes."""
    notes = [info.description or ""]
    if choices := _choices(info.annotation):
        notes.append("one of " + ", ".join(choices))
    for limit in info.metadata:
        for name, sign in BOUNDS.items():
            bound = getattr(limit, name, None)
            if bound is not None:
                notes.append(f"{sign} {bound:g}")
    return "; ".join(note for note in notes if note)


def _choices(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return [str(one) for one in get_args(kind)]
    if get_origin(kind) in (Union, types.UnionType):
        return [choice for part in get_args(kind) for choice in _choices(part)]
    return []


def _toml(value: Any) -> str:
    """Return a value as TOML; strings and lists of them look as in JSON."""
    if isinstance(value, SecretStr):
        return json.dumps(value.get_secret_value())
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(one) for one in value) + "]"
    return json.dumps(value)


if __name__ == "__main__":
    sys.stdout.write(settings_markdown())
