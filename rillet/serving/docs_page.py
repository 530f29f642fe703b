"""The page /docs: the OpenAPI document as a person reads it, whole in itself, without scripts."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

__all__ = ["HEADERS", "docs_page"]

HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "frame-ancestors 'none'; base-uri 'none'"
}

STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: 1rem; font-size: 1.2rem; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; border-radius: .4rem; }
code, pre { font: .9rem/1.45 ui-monospace, monospace; }
td, th { text-align: left; vertical-align: top; padding: .2rem 1rem .2rem 0; }
nav li { margin: .1rem 0; }
.table { overflow-x: auto; }
"""


def docs_page(document: Mapping[str, Any], base: str) -> str:
    """Return the page.

    Parameters
    ----------
    document
        The OpenAPI document.
    base
        URL under which the service was asked, for the examples.
    """
    found = [
        (path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        f"<h1>{escape(document['info']['title'])}</h1>",
        _text(document["info"]["description"]),
    ]
    parts.append("<nav><ul>")
    for path, method, operation in found:
        name = f"{method.upper()} {path}"
        first = operation.get("description", "").partition("\n")[0]
        link = f'<a href="#{operation["operationId"]}"><code>{escape(name)}</code></a>'
        parts.append(f"<li>{link} {_words(first)}</li>")
    parts.append('</ul><p><a href="openapi.json">openapi.json</a> for programs</p></nav>')
    schemas = document["components"]["schemas"]
    for path, method, operation in found:
        parts += _operation(path, method, operation, schemas, base)
    body = "\n".join(parts)
    view = '<meta name="viewport" content="width=device-width, initial-scale=1">'
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">{view}'
        f"<title>Rillet: what can be asked</title><style>{STYLE}</style></head>"
        f"<body><main>{body}</main></body></html>"
    )


def _operation(
    path: str,
    method: str,
    operation: Mapping[str, Any],
    schemas: Mapping[str, Any],
    base: str,
) -> Iterator[str]:
    name = f"{method.upper()} {path}"
    yield f'<h2 id="{operation["operationId"]}"><code>{escape(name)}</code></h2>'
    yield _text(operation.get("description", ""))
    if parameters := operation.get("parameters"):
        rows = [(one["name"], one["in"], one.get("description", "")) for one in parameters]
        yield _table(("parameter", "in", ""), rows)
    examples = _examples(operation.get("requestBody", {}), schemas)
    for body in examples or [None]:
        yield f"<pre>{escape(_curl(path, method, body, base))}</pre>"
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            for shown in _examples(answer, schemas):
                yield f"<pre>{escape(json.dumps(shown, indent=2, ensure_ascii=False))}</pre>"
    answers = [(status, one["description"]) for status, one in operation["responses"].items()]
    yield _table(("status", ""), answers)


def _curl(path: str, method: str, body: Any, base: str) -> str:
    """Return a command that asks this."""
    there = base + path.replace("{user}", "alice").replace("{item}", "runner")
    there = there.replace("{model}", "xgboost")
    flag = "" if method in ("get", "post") else f" -X {method.upper()}"
    if body is None:
        return f"curl{flag} {there}"
    text = json.dumps(body, ensure_ascii=False).replace("'", "'\\''")
    return f"curl{flag} {there} -d '{text}'"


def _examples(part: Mapping[str, Any], schemas: Mapping[str, Any]) -> list[Any]:
    """Return the examples of a body: its own, else those of its schema."""
    media = part.get("content", {}).get("application/json", {})
    if "example" in media:
        return [media["example"]]
    if "examples" in media:
        return [one["value"] for one in media["examples"].values()]
    schema = media.get("schema", {})
    name = schema.get("$ref", "").rpartition("/")[2]
    examples: list[Any] = schemas.get(name, schema).get("examples", [])
    return examples


def _text(text: str) -> str:
    return "".join(f"<p>{_words(one)}</p>" for one in text.strip().split("\n\n") if one)


def _words(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text, quote=False))


def _table(head: tuple[str, ...], rows: list[Any]) -> str:
    lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{_words(str(cell))}</td>" for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="table"><table>{body}</table></div>'
