"""The command `rillet serve`: keys, and what it refuses."""

from __future__ import annotations

import hashlib
import json

from tests.rillet.conftest import rillet


def test_a_new_key_is_printed_once_with_its_setting() -> None:
    done = rillet("serve", "--new-key", "write,read")
    key = done.stdout.strip()
    digest = hashlib.sha256(key.encode()).hexdigest()
    assert done.returncode == 0
    assert f'"read+write:{digest}"' in done.stderr
    assert key not in done.stderr
    found = json.loads(rillet("serve", "--new-key", "admin", "--json").stdout)
    assert found["key"] != key
    assert found["setting"].startswith("admin:")


def test_a_scope_that_there_is_not_is_told() -> None:
    done = rillet("serve", "--new-key", "root")
    assert done.returncode == 2
    assert "root" in done.stderr
    assert "read, write, admin" in done.stderr


def test_it_is_not_open_to_everybody_without_keys() -> None:
    done = rillet(
        "serve", "--host", "192.0.2.1", "--port", "0", "--no-search", "--redis", "embedded:"
    )
    assert done.returncode == 2
    assert "--new-key" in done.stderr
    assert len(done.stderr.splitlines()) == 2


def test_its_help_teaches() -> None:
    said = " ".join(rillet("serve", "--help").stdout.split())
    for words in ("--new-key", "read+write", "curl localhost:8080/recommend", "--open-docs"):
        assert words in said
