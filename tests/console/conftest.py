"""A small replayed shop, the console over it, and a real browser: one of each for all tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

from models.manifest import Manifest
from models.registry import Registry
from rillet.simulate import Plan, World
from stream.events import encode
from stream.log import LogWriter

CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
WIDE, PHONE = {"width": 1300, "height": 900}, {"width": 390, "height": 844}


@dataclass(frozen=True)
class Shop:
    """Where the state of a replayed shop lies, its figures, and two trained models."""

    state: Path
    report: Path
    models: Path


def environment(**variables: str) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("RILLET_")}
    return clean | {"OPENBLAS_NUM_THREADS": "1"} | variables


@pytest.fixture(scope="session")
def shop() -> Iterator[Shop]:
    # A socket's path must be short, which pytest's folders are not everywhere.
    home = Path(tempfile.mkdtemp(prefix="rillet-"))
    with LogWriter(home / "log.jsonl.gz") as log:
        for event in World(Plan(seed=3, users=60, items=300, days=2)).events():
            log.write(encode(event))
    command = ["replay", str(home / "log.jsonl.gz"), "--state", str(home / "redis")]
    command += ["--json", str(home / "report.json")]
    done = subprocess.run(
        [sys.executable, "-m", "rillet.cli.main", *command],
        capture_output=True,
        check=False,
        env=environment(),
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    two_models(home / "models")
    yield Shop(home / "redis", home / "report.json", home / "models")
    shutil.rmtree(home)


def two_models(home: Path) -> None:
    registry = Registry(str(home))
    for seed in (1, 2):
        registry.promote(registry.add({"w": np.arange(3.0)}, Manifest("sequence", seed=seed)))


@contextmanager
def serving(state: Path, log: Path, **variables: str) -> Iterator[str]:
    """Serve the console as a user does, with the engine in it; yields where."""
    command = ["serve", "--embedded", str(state), "--resume-clock", "--port", "0", "--json"]
    with (
        log.open("w") as said,
        subprocess.Popen(
            [sys.executable, "-m", "rillet.cli.main", *command],
            env=environment(**variables),
            start_new_session=True,
            stderr=said,
            stdout=subprocess.PIPE,
            text=True,
        ) as served,
    ):
        try:
            assert served.stdout is not None
            yield json.loads(served.stdout.readline())["url"]
        finally:
            os.killpg(served.pid, signal.SIGINT)  # as Ctrl-C does, to the embedded Redis too
            ended = served.wait(30)
    assert ended == 0
    assert "Traceback" not in log.read_text()


@pytest.fixture(scope="session")
def url(shop: Shop) -> Iterator[str]:
    log = shop.report.with_name("serve.log")
    found = {"RILLET_SERVE__REPORT": shop.report, "RILLET_TRAINING__REGISTRY": shop.models}
    with serving(shop.state, log, **{name: str(path) for name, path in found.items()}) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Lend a browser. While it is open asyncio counts as running, so it is not kept for others."""
    program = next((found for name in CHROMIUM if (found := shutil.which(name))), None)
    assert program, "scripts/browser.py installs Chromium"
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=list(QUIET))
        yield opened
        opened.close()


@dataclass
class Faults:
    """What a page must not do: ask others for anything, or complain."""

    outside: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def watch(self, page: Page, url: str) -> None:
        own = (url, url.replace("http", "ws", 1), "data:")

        def asked(request: Request) -> None:
            if not request.url.startswith(own):
                self.outside.append(request.url)

        def said(message: ConsoleMessage) -> None:
            if message.type == "error":
                self.errors.append(message.text)

        page.on("request", asked)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", said)


Visit = Callable[..., Page]


@pytest.fixture
def visit(browser: Browser, url: str) -> Iterator[Visit]:
    """Open a page of the console, in a browser that nobody has used before."""
    faults, contexts = Faults(), []

    def opened(path: str = "", *, theme: str = "light", phone: bool = False) -> Page:
        context = browser.new_context(
            viewport=PHONE if phone else WIDE,  # type: ignore[arg-type]
            color_scheme=theme,  # type: ignore[arg-type]
            reduced_motion="reduce",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        faults.watch(page, url)
        page.goto(f"{url}/console/{path}")
        page.wait_for_function("window.did_handshake === undefined || window.did_handshake")
        page.wait_for_selector("h1")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults.outside == []
    assert faults.errors == []
