"""The whole engine, live: topics made, consumers run, a log published, lists read."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from models.answer import Answer
from rillet import BadEventError, Client, NothingYetError
from stream.settings import Settings
from tests.integration.live import Rillet, Start, eventually

SHELVES = ("tea", "mugs", "books", "lamps")


def shop(path: Path) -> Path:
    """Write a log of a few items, and of users who each keep to a shelf."""
    lines: list[bytes] = []
    now = int(time.time() * 1000) - 600_000
    for number in range(24):
        shelf = SHELVES[number % len(SHELVES)]
        fields = [
            {"name": "title", "value": f"{shelf} number {number}"},
            {"name": "category", "value": shelf},
        ]
        event = {"event": "item", "timestamp": now, "item": f"i{number}", "fields": fields}
        lines.append(json.dumps(event).encode())
    for step in range(240):
        user, number = f"u{step % 12}", (step % 4) + 4 * (step // 12 % 6)
        view = {"event": "interaction", "type": "view", "user": user, "item": f"i{number}"}
        lines.append(json.dumps({"timestamp": now + step * 1000, **view}).encode())
    lines.append(b"not an event")
    path.write_bytes(b"\n".join(lines))
    return path


def listed(client: Client, user: str) -> Any:
    try:
        answer = client.recommend(user)
    except NothingYetError:
        return None
    return answer if answer.user == user else None


def of_nobody(answer: Answer) -> bool:
    return not any(why.item for one in answer.items for why in one.reasons)


def test_from_nothing_to_recommendations_and_back(
    rillet: Rillet,
    start: Start,
    settings: Settings,
    variables: dict[str, str],
    tmp_path: Path,
) -> None:
    assert rillet("consume", "personalize").returncode == 2  # no topics yet
    made = rillet("init", "--topics")
    assert made.returncode == 0, made.stderr
    assert made.stdout.count("created") == 4
    assert "created" not in rillet("init", "--topics").stdout

    up = start("up")
    published = rillet("publish", str(shop(tmp_path / "log.jsonl")), "--json")
    assert json.loads(published.stdout)["bad"] == 1
    with Client(settings) as client:
        answer = eventually(lambda: listed(client, "u3"), up.said)
        assert {one.item for one in answer.items} <= {f"i{number}" for number in range(24)}
        assert client.recommend("stranger").user == "*default*"
        settled = eventually(lambda: caught_up(rillet, settings), up.said)
        names = {one["name"] for one in settled["processes"]}
        assert names == {"catalogue", "neighbours", "personalize"}
        assert settled["deadletters"] == 1
        checked = rillet("doctor", "--only", "kafka,topics,redis,catalogue,consumers,lag")
        assert checked.returncode == 0, checked.stdout
        assert "0 failures" in checked.stdout
        assert "because" in rillet("recommend", "u3").stdout
        assert rillet("explain", "u3", answer.items[0].item).returncode == 0

    the_example_runs(variables)
    assert up.end() == 0, up.said()
    assert up.said().count(" ended after ") == 3
    resumes(rillet, start, settings)


def caught_up(rillet: Rillet, settings: Settings) -> Any:
    """Return the status once all records are worked off and all consumers are alive."""
    state = json.loads(rillet("status", "--json").stdout)
    done = len(state["processes"]) == 3 and not any(state["lag"].values())
    return state if done and state["deadletters"] else None


def the_example_runs(variables: dict[str, str]) -> None:
    example = Path(__file__).parents[2] / "examples" / "publish_and_read.py"
    done = subprocess.run(
        [sys.executable, str(example)],
        capture_output=True,
        check=False,
        env=variables | {"PYTHONPATH": str(example.parents[1])},
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3


def resumes(
    rillet: Rillet,
    start: Start,
    settings: Settings,
) -> None:
    """What a restarted engine knows, it knows from before; what is new it adds."""
    up = start("up")
    with Client(settings) as client:
        before = client.session("u3")
        assert before is not None
        with pytest.raises(BadEventError):
            client.publish({"event": "interaction", "user": "u3"})
        client.publish({"event": "interaction", "type": "view", "user": "u3", "item": "i5"})
        client.flush()

        def grown() -> bool:
            now = client.session("u3")
            return now is not None and now.events == before.events + 1

        eventually(grown, up.said)
        client.forget("u3")
        eventually(lambda: of_nobody(client.recommend("u3")), up.said)
    assert up.end() == 0, up.said()


def test_lockstep_answers_carry_the_events_time(
    rillet: Rillet,
    variables: dict[str, str],
    start: Start,
    settings: Settings,
    tmp_path: Path,
) -> None:
    variables["RILLET_BATCH__LOCKSTEP"] = "true"
    assert rillet("init", "--topics").returncode == 0
    up = start("up")
    log = shop(tmp_path / "log.jsonl")
    assert rillet("publish", str(log)).returncode == 0
    with Client(settings) as client:
        eventually(lambda: caught_up(rillet, settings), up.said)
        answer = client.recommend("u3")
        assert answer.generated_at <= int(time.time() * 1000) - 300_000
    assert up.end() == 0, up.said()
