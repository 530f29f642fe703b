"""The OpenAPI document: it is kept to, and it can be read."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.testclient import TestClient


@pytest.fixture(scope="module")
def document(searching: TestClient) -> dict[str, Any]:
    found: dict[str, Any] = searching.get("/openapi.json").json()
    return found


def test_every_operation_is_described_with_its_problems(document: dict[str, Any]) -> None:
    names = set()
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names.add(operation["operationId"])
            assert operation["description"], path
            assert any(status.startswith("2") for status in operation["responses"])
            if path not in ("/health", "/ready"):
                assert operation["security"]
                told = operation["responses"]["401"]["content"]
                assert list(told) == ["application/problem+json"]
            if method in ("post", "put"):
                assert operation["responses"]["413"]
    assert len(names) == sum(map(len, document["paths"].values()))


def test_counts_are_documented_with_their_bounds(document: dict[str, Any]) -> None:
    found = [
        parameter["schema"]
        for methods in document["paths"].values()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
        if parameter["name"] == "n"
    ]
    assert len(found) >= 4
    assert {(one["type"], one["minimum"], one["maximum"]) for one in found} == {
        ("integer", 1, 1000)
    }


def test_its_schemas_are_schemas(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)


def test_its_examples_are_answered(searching: TestClient, document: dict[str, Any]) -> None:
    """Those that are read: events go nowhere here, and are tried where there is a Kafka."""
    tried = 0
    for path in ("/recommend", "/rank", "/rank/{model}", "/recommend/{model}"):
        media = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        name = media["schema"]["$ref"].rpartition("/")[2]
        for example in document["components"]["schemas"][name]["examples"]:
            answer = searching.post(path.replace("{model}", "m"), json=example)
            assert answer.status_code == 200, answer.text
            tried += 1
    assert tried >= 6


def test_the_page_stands_by_itself(searching: TestClient, document: dict[str, Any]) -> None:
    answer = searching.get("/docs")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    page = answer.text
    assert re.findall(r"<script|(?:src|href)=\"(?!#|openapi\.json)", page) == []
    for path in document["paths"]:
        assert path in page
    bodies = re.findall(r"-d &#x27;(.*?)&#x27;</pre>", page)
    assert len(bodies) >= 8
    for body in bodies:
        json.loads(unescape(body))
