"""Pages that stay open over a logout, in a real browser."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, expect

from models.registry import Registry
from rillet.console.gate import LOGGED_OUT
from rillet.serving.guard import new_key
from tests.console.conftest import serving, two_models

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]


@pytest.fixture
def home() -> Iterator[Path]:
    # A socket's path must be short, which pytest's folders are not everywhere.
    made = Path(tempfile.mkdtemp(prefix="rillet-"))
    yield made
    shutil.rmtree(made)


def log_in(context: BrowserContext, url: str, key: str) -> None:
    answer = context.request.post(f"{url}/console/login", form={"key": key})
    assert answer.ok
    assert answer.url.endswith("/console/")


def test_who_logs_out_acts_on_no_open_page_nor_does_who_comes_after(
    browser: Browser, home: Path
) -> None:
    two_models(home / "models")
    current = Registry(str(home / "models")).current("sequence")
    (admin, admins), (reader, readers) = new_key(["read", "write", "admin"]), new_key(["read"])
    with serving(
        home / "state",
        home / "log",
        RILLET_SERVE__KEYS=f"{admins},{readers}",
        RILLET_TRAINING__REGISTRY=str(home / "models"),
    ) as url:
        context = browser.new_context()
        log_in(context, url, admin)
        operations, shop = context.new_page(), context.new_page()
        for page, path in ((operations, "operations"), (shop, "?user=ann")):
            page.goto(f"{url}/console/{path}")
            page.wait_for_function("window.did_handshake === undefined || window.did_handshake")
            page.wait_for_selector("h1")
        back = operations.get_by_role("button", name="Roll back")
        expect(back).to_be_enabled()
        context.request.get(f"{url}/console/logout")
        log_in(context, url, reader)  # open pages connect again as him
        told = operations.get_by_text(LOGGED_OUT)
        for _ in range(40):
            back.click(force=True)
            operations.wait_for_timeout(250)
            if told.count():
                break
        expect(told).to_be_visible()
        shop.get_by_label("Search the catalogue").fill("tea")
        for _ in range(40):
            shop.get_by_role("button", name="Search").click(force=True)
            shop.wait_for_timeout(250)
            if shop.locator("#fresh", has_text=LOGGED_OUT).count():
                break
        expect(shop.locator("#fresh")).to_contain_text(LOGGED_OUT)
        context.close()
    assert Registry(str(home / "models")).current("sequence") == current
