"""What the Transformer that is served looks at in a user's past."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from features.session import Session, encode_session
from features.text import Encoder, load_encoder
from models.answer import Answer, Listed, encode_answer
from models.registry import Registry
from rillet import Client
from rillet.attention import Looks, looks_of
from rillet.cli.attention import draw_looks
from rillet.console.gaze import gaze_html, gaze_of
from stream.errors import LogError, NothingYetError
from stream.events import Item
from stream.settings import Settings
from stream.store import Store
from stream.writes import Plain
from tests.builders import HOUR, MINUTE, NOON, folded, interaction, search
from tests.consumers.small_log import the_items
from tests.consumers.trained import a_job, small, stock, visits

ITEMS = [event.item for event in the_items() if isinstance(event, Item)][:4]


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    store = Store(Settings.model_validate({"redis": {"url": "embedded:"}}).redis)
    yield store
    store.close()


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder(Settings().encoder)


@pytest.fixture(scope="module")
def settings(server: Store, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    redis = {"url": server.url, "prefix": "attention"}
    return Settings.model_validate(small(tmp_path_factory.mktemp("attention"), redis=redis))


@pytest.fixture(scope="module")
def store(settings: Settings) -> Iterator[Store]:
    store = Store(settings.redis)
    yield store
    store.close()


def walker() -> Session:
    return folded([interaction(one, NOON + n * MINUTE) for n, one in enumerate(ITEMS)])


@pytest.fixture(scope="module")
def looks(settings: Settings, store: Store, encoder: Encoder) -> Looks:
    home = Path(settings.training.registry).parent
    stock(settings, store, encoder, home / "items.jsonl")
    with pytest.raises(NothingYetError, match="no Transformer was promoted"):
        looks_of(settings, store, walker())
    outcome = a_job(settings, store, encoder).run(visits())
    assert outcome is not None
    Registry(settings.training.registry).promote(outcome.version)
    return looks_of(settings, store, walker())


def test_each_heads_looks_fall_on_the_users_past(looks: Looks, settings: Settings) -> None:
    assert [one.item for one in looks.looks] == ITEMS
    assert all(one.title for one in looks.looks)
    shape = (settings.transformer.layers, settings.transformer.heads)
    assert looks.array().shape == (*shape, len(ITEMS))
    assert looks.array().sum(axis=-1) == pytest.approx(np.ones(shape), abs=1e-5)


def test_the_console_shows_the_last_blocks_mean(looks: Looks, settings: Settings) -> None:
    shown = gaze_html(gaze_of(settings, walker()))
    means = looks.array()[-1].mean(axis=0)[::-1]
    assert re.findall(r'class="val">([^<]*)<', shown) == [f"{share:.1%}" for share in means]
    titles = [one.title for one in reversed(looks.looks)]
    assert re.findall(r"<li><span>([^<]*)<", shown) == titles
    assert "not why an item is listed" in shown
    assert looks.model in shown


def test_they_are_drawn(looks: Looks, tmp_path: Path) -> None:
    draw_looks(looks, "u", tmp_path / "new" / "looks.png")
    assert (tmp_path / "new" / "looks.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").touch()
    with pytest.raises(LogError, match="cannot be written"):
        draw_looks(looks, "u", tmp_path / "file" / "looks.png")


def test_the_command_draws_and_tells_the_numbers(
    looks: Looks, settings: Settings, store: Store, command: Any, tmp_path: Path
) -> None:
    session = walker()
    session.user = "walker"
    answer = Answer(session.as_of, "walker", [Listed(ITEMS[0], 0.5)], "blend-1", [], NOON)
    store.write_plain(
        [
            Plain(store.keys.session("walker"), encode_session(session), HOUR),
            Plain(store.keys.recs("walker"), encode_answer(answer), HOUR),
        ]
    )
    url, prefix = settings.redis.url.get_secret_value(), settings.redis.prefix
    variables = {
        "RILLET_REDIS__PREFIX": prefix,
        "RILLET_TRAINING__REGISTRY": settings.training.registry,
    }
    picture = tmp_path / "looks.png"
    arguments = ("explain", "walker", ITEMS[0], "--redis", url, "--attention", str(picture))
    done = command(*arguments, "--json", **variables)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["attention"] == looks.as_dict()
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert f"drawn in {picture}" in command(*arguments, **variables).stdout


def test_the_command_says_where_there_is_no_model(kept: Any, command: Any, tmp_path: Path) -> None:
    with Client(kept.settings) as client:
        user = min(name for name, _ in client.store.scan("recs") if name != "*default*")
        item = client.recommend(user).items[0].item
    picture = tmp_path / "looks.png"
    done = command(
        *("explain", user, item, "--redis", kept.redis, "--attention", str(picture)),
        RILLET_TRAINING__REGISTRY=str(tmp_path / "models"),
    )
    assert done.returncode == 2
    assert "no Transformer was promoted" in done.stderr
    assert "rillet train" in done.stderr
    assert not picture.exists()


def test_who_took_nothing_is_told_so(settings: Settings, store: Store, looks: Looks) -> None:
    nothing = looks_of(settings, store, folded([search("tea", NOON)]))
    assert nothing.looks == []
    assert "looks at nothing" in gaze_html(nothing)
    with pytest.raises(NothingYetError, match="stranger took nothing"):
        draw_looks(nothing, "stranger", Path("never.png"))
