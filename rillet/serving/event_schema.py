"""JSON Schema of the events, from the types that decode them, with what their types do not say."""

from __future__ import annotations

from typing import Any, Final, get_args

import msgspec

from stream.events import MAX_TIME_MS, RESERVED_USER, Event, Merge, Millis
from stream.limits import MAX_ID, MAX_TYPE

__all__ = ["EVENT_BODY", "EVENT_SCHEMAS"]

REF: Final = "#/components/schemas/{name}"

OWN_TYPES: Final[dict[type, dict[str, Any]]] = {
    Millis: {
        "description": "epoch milliseconds, also as a text, or ISO 8601; now where it is left out",
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": MAX_TIME_MS},
            {"type": "string", "format": "date-time"},
            {"type": "string", "pattern": "^[0-9]{1,13}$"},
        ],
    }
}

_REF_LIKE: Final = ("user", "session", "anonymous", "item", "id", "ranking")

EXAMPLES: Final[dict[str, Any]] = {
    "interaction": {
        "summary": "what a user did with an item",
        "value": {
            "event": "interaction",
            "id": "e1",
            "timestamp": "1795533317075",
            "user": "alice",
            "session": "s1",
            "type": "click",
            "item": "runner",
        },
    },
    "ranking": {
        "summary": "a list that was shown",
        "value": {
            "event": "ranking",
            "id": "r1",
            "timestamp": 1795533316000,
            "user": "alice",
            "session": "s1",
            "fields": [{"name": "query", "value": "rug"}],
            "items": [{"id": "kilim"}, {"id": "runner"}],
        },
    },
    "several": {
        "summary": "an item, and what was searched for, now",
        "value": [
            {
                "event": "item",
                "item": "runner",
                "fields": [{"name": "title", "value": "Hall runner"}],
            },
            {"event": "search", "user": "alice", "query": "rug"},
        ],
    },
}


def _schemas() -> tuple[dict[str, Any], dict[str, Any]]:
    kinds = [kind for kind in get_args(Event) if kind is not Merge]
    _, found = msgspec.json.schema_components(
        kinds, schema_hook=OWN_TYPES.__getitem__, ref_template=REF
    )
    named = {f"Event{name}": _told(schema) for name, schema in found.items()}
    mapping = {kind.__struct_config__.tag: f"Event{kind.__name__}" for kind in kinds}
    one = {
        "oneOf": [{"$ref": REF.format(name=name)} for name in mapping.values()],
        "discriminator": {
            "propertyName": "event",
            "mapping": {tag: REF.format(name=name) for tag, name in mapping.items()},
        },
    }
    return named, one


def _told(schema: dict[str, Any]) -> dict[str, Any]:
    """Add what the decoder checks beside the types."""
    schema = _renamed(schema)
    properties = schema["properties"]
    for name in (*_REF_LIKE, "type"):
        if name in properties:
            properties[name] = _bounded(name, properties[name])
    required = schema.get("required", [])
    schema["required"] = [name for name in required if name != "timestamp"]
    if "session" in properties:
        one_of = ("user", "session")
        schema["anyOf"] = [
            {"required": [n], "properties": {n: {"type": "string", "minLength": 1}}} for n in one_of
        ]
    elif properties.get("event", {}).get("enum") == ["delete"]:
        schema["oneOf"] = [
            {"required": [n], "properties": {n: {"type": "string"}}} for n in ("user", "item")
        ]
    return schema


def _bounded(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return a text's schema with its length; of an id that may be absent, too."""
    most = MAX_TYPE if name == "type" else MAX_ID
    text: dict[str, Any] = {"type": "string", "maxLength": most}
    if name in ("user", "item", "anonymous") and "anyOf" not in schema:
        text["minLength"] = 1
    if name in ("user", "item", "anonymous"):
        text["not"] = {"enum": [RESERVED_USER]}
    return {"anyOf": [text, {"type": "null"}]} if "anyOf" in schema else text


def _renamed(schema: Any) -> Any:
    """Let references name what is called ``Event...`` here."""
    if isinstance(schema, list):
        return [_renamed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return {"$ref": schema["$ref"].replace("/schemas/", "/schemas/Event")}
    return {name: _renamed(value) for name, value in schema.items() if name != "discriminator"}


EVENT_SCHEMAS, _ONE = _schemas()

EVENT_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"anyOf": [_ONE, {"type": "array", "items": _ONE}]},
            "examples": EXAMPLES,
        }
    },
}
