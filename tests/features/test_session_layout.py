"""The page about Redis describes a user's state as it is, field by field."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from features.session import PARTS, Session, decode_session, encode_session, new_session
from features.stored import Stored
from stream.events import Event
from tests.builders import fields, folded, interaction, merge, profile, ranking, search

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "redis.md").read_text("utf-8")
SECTION = PAGE.split("\n### session\n")[1].split("\n### ")[0]
FIELDS = {field.name: field.type for field in msgspec.structs.fields(Stored)}
UNUSUAL = {"windows": {"earlier"}, "ignored": {"counts"}}
"""What the state of the example is too small for."""


def example() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(SECTION.split("```json\n")[1].split("```")[0])
    return found


def test_the_example_is_what_the_fold_makes_of_such_events() -> None:
    shown: list[Event] = [ranking(["i0100"], 1767601676913, "visitor-5")]
    visitor = folded(shown, state=new_session("visitor-5"), partition=3, first=41)
    events: list[Event] = [
        interaction("i2431", 1767511324038, "alice", session="s0007", id="e1"),
        interaction("i2431", 1767601626913, "alice", session="s2000", id="e2"),
        merge("visitor-5", encode_session(visitor), "alice", 1767601726913),
        ranking(
            ["i0007", "i0012", "i2431"],
            1767901631913,
            "alice",
            session="s3164",
            id="r811",
            fields=fields({"device": "phone"}),
        ),
        profile(1767901631914, "alice", age=33.0),
        interaction("i0012", 1767901635913, "alice", session="s3164", ranking="r811", id="e3"),
        search("tea", 1767901650000, "alice", session="s3164"),
        ranking(["i0007", "i0044"], 1767901650794, "alice", session="s3164", id="r812"),
    ]
    session = folded(events, state=new_session("alice"), first=26526)
    assert example() == json.loads(encode_session(session))
    assert decode_session(json.dumps(example()).encode()) == session


def test_every_field_is_described() -> None:
    described = set(re.findall(r"`(\w+)`", SECTION.split("```")[2]))
    assert set(FIELDS) - described <= {"as_of", "user"}  # said of all values


@pytest.mark.parametrize("part", [name for name in PARTS if name != "owned"])
def test_every_field_of_a_part_is_described_in_its_row(part: str) -> None:
    (row,) = [line for line in SECTION.splitlines() if line.startswith(f"| `{part}` |")]
    names = FIELDS[part].__struct_fields__
    assert set(names) <= set(re.findall(r"`(\w+)`", row))
    assert set(names) - set(example()[part]) == UNUSUAL.get(part, set())


def test_every_field_of_a_state_is_stored() -> None:
    assert set(FIELDS) - {"form"} == set(Session.__struct_fields__)
