"""The console in a real browser: what a person sees of the engine, and how he gets around."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import pytest
from playwright.sync_api import Page, expect

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

Visit = Callable[..., Page]

AXE = (files("axe_playwright_python") / "axe.min.js").read_text("utf-8")
PAGES = ["?user=axel", "user?user=axel", "operations", "quality"]


def order(page: Page) -> list[str]:
    """Return the items of the list at this moment, but for those that are on their way out."""
    found: list[str] = page.eval_on_selector_all(
        ".row:not(.flip-leave-active)", "(rows) => rows.map((row) => row.dataset.item)"
    )
    return found


def fresh_ms(page: Page) -> float:
    """Wait for the milliseconds that a click took, and return them."""
    expect(page.locator("#fresh .ms")).to_have_text(re.compile(r"^\d+ ms$"))
    return float(page.inner_text("#fresh .ms").removesuffix(" ms"))


def click_a_card(page: Page, place: int, kind: str = "view") -> str:
    card = page.locator(".card").nth(place)
    card.locator(f"button[data-type={kind}]").click()
    return card.locator("h3").inner_text()


def test_a_click_changes_the_list_which_says_why_and_how_fast(visit: Visit) -> None:
    page = visit("?user=ann")
    expect(page.locator("#fresh")).to_contain_text("Nobody knows you yet")
    before = order(page)
    title = click_a_card(page, 2)
    assert 0 < fresh_ms(page) < 5_000
    expect(page.locator("#fresh")).to_contain_text(f"after you viewed {title}")
    expect(page.locator(".row .why", has_text=title).first).to_be_visible()
    assert order(page) != before
    assert page.locator(".badge.new, .badge.up").count() > 0
    assert page.locator(".sources .bars li").count() > 3


def test_the_list_goes_on_changing_and_a_new_visitor_begins_anew(visit: Visit) -> None:
    page = visit("?user=bea")
    click_a_card(page, 0)
    fresh_ms(page)
    first = order(page)
    title = click_a_card(page, 9, "purchase")
    expect(page.locator("#fresh")).to_contain_text(f"you bought {title}")
    assert order(page) != first
    page.get_by_role("button", name="A new visitor").click()
    expect(page.locator("#fresh")).to_contain_text("Nobody knows you yet")
    assert "visitor-" in page.url


def test_a_search_finds_items_and_is_followed(visit: Visit) -> None:
    page = visit("?user=cid")
    title = page.locator(".card h3").nth(4).inner_text()
    page.get_by_label("Search the catalogue").fill(title)
    page.get_by_role("button", name="Search").click()
    expect(page.locator("#fresh")).to_contain_text(f'you searched for "{title}"')
    expect(page.locator(".card h3").first).to_have_text(title)
    expect(page.locator(".row")).to_have_count(12)


def test_a_category_is_browsed(visit: Visit) -> None:
    page = visit("?user=dan")
    everything = page.locator("p[role=status]").inner_text()
    chosen = page.locator("#category option").nth(1).inner_text()
    page.get_by_label("Category").select_option(chosen)
    expect(page.locator("p[role=status]")).not_to_have_text(everything)
    for meta in page.locator(".card .meta").all():
        assert chosen in meta.inner_text()


def test_every_part_of_a_score_is_shown_on_demand(visit: Visit) -> None:
    page = visit("?user=eva")
    click_a_card(page, 1)
    fresh_ms(page)
    page.locator(".row summary").first.click()
    parts = page.locator(".row").first.locator(".bars li")
    expect(parts.nth(2)).to_be_visible()
    assert re.fullmatch(r"[+-]\d+\.\d\d", parts.first.locator(".val").inner_text())


def press_until(page: Page, selector: str, most: int = 60) -> None:
    """Press Tab until what has the focus is of a kind; each stop must be seen."""
    for _ in range(most):
        page.keyboard.press("Tab")
        found = page.evaluate(
            """(wanted) => { const at = document.activeElement, style = getComputedStyle(at);
               return [at.matches(wanted), style.outlineStyle, at.outerHTML.slice(0, 120)]; }""",
            selector,
        )
        assert found[1] != "none", f"the focus is not seen on {found[2]}"
        if found[0]:
            return
    pytest.fail(f"Tab does not get to {selector}")


def test_the_keyboard_alone_is_enough(visit: Visit) -> None:
    page = visit("?user=fay")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Enter")
    press_until(page, "#query")
    page.keyboard.type("the")
    page.keyboard.press("Enter")
    expect(page.locator("#fresh")).to_contain_text('you searched for "the"')
    before = order(page)
    press_until(page, ".card button")
    page.keyboard.press("Enter")
    expect(page.locator("#fresh")).to_contain_text("after you viewed")
    assert order(page) != before
    press_until(page, ".row summary", most=200)
    page.keyboard.press("Enter")
    assert page.locator(".row details[open]").count() == 1


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize(("theme", "phone"), [("light", False), ("dark", True)])
def test_nothing_keeps_anybody_out(visit: Visit, path: str, theme: str, phone: bool) -> None:
    """axe-core finds nothing serious, and no page is wider than a phone."""
    page = visit(path, theme=theme, phone=phone)
    if path.startswith("?"):
        click_a_card(page, 3)
        fresh_ms(page)
        page.locator(".row summary").first.click()
    page.evaluate(AXE)
    found: dict[str, Any] = page.evaluate("axe.run(document)")
    serious = {
        one["id"]: [node["html"][:200] for node in one["nodes"][:3]]
        for one in found["violations"]
        if one["impact"] in ("serious", "critical")
    }
    assert serious == {}
    assert len(found["passes"]) > 15
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_theme_that_was_chosen_stays(visit: Visit) -> None:
    page = visit("quality", theme="light")

    def background() -> str:
        return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))

    light = background()
    page.get_by_role("button", name="Light or dark").click()
    assert background() != light
    page.get_by_role("link", name="Operations").click()
    page.wait_for_selector("h1")
    assert background() != light


def test_a_user_is_shown_with_his_lists(visit: Visit) -> None:
    page = visit("?user=gus")
    title = click_a_card(page, 5, "like")
    fresh_ms(page)
    page.get_by_role("link", name="User", exact=True).click()
    past = page.get_by_role("region", name="What he did, latest first").first
    expect(past.locator("tbody tr").first).to_contain_text("like")
    expect(past.locator("tbody tr").first).to_contain_text(title)
    expect(page.locator(".seen li").first).to_contain_text(f"liked {title}")
    assert page.locator(".seen li").first.locator(".pic").count() == 8


def test_a_model_that_cannot_be_asked_says_why(visit: Visit) -> None:
    page = visit("user?user=no-such-user")
    panel = page.get_by_role("region", name="What the Transformer looks at")
    expect(panel).to_be_visible()
    panel.get_by_role("button").click()
    expect(panel.get_by_role("status")).to_contain_text("nothing is known of this user yet")
    page = visit("?user=ida")
    click_a_card(page, 3)
    fresh_ms(page)
    page.get_by_role("link", name="User", exact=True).click()
    panel = page.get_by_role("region", name="What the Transformer looks at")
    panel.get_by_role("button").click()
    expect(panel.get_by_role("status")).to_contain_text("cannot be used", timeout=30_000)


def test_operations_say_what_consumers_do_and_how_fresh_lists_are(visit: Visit) -> None:
    page = visit("?user=hal")
    click_a_card(page, 6)
    fresh_ms(page)
    page.get_by_role("link", name="Operations").click()
    consumers = page.get_by_role("region", name="Running consumers").locator("tbody")
    for name in ("catalogue", "neighbours", "personalize"):
        expect(consumers).to_contain_text(name)
    expect(page.get_by_role("list", name="Freshness of clicks")).to_contain_text("p99")
    expect(page.get_by_role("region", name="Time by step").locator("tbody").first).to_contain_text(
        "handle"
    )


def test_a_model_is_rolled_back_and_promoted_again(visit: Visit) -> None:
    page = visit("operations")
    rows = page.get_by_role("region", name="Models").locator("tr")
    current = rows.filter(has=page.locator(".badge.good"))
    expect(current).to_have_count(1)
    second = current.locator("td").first.inner_text()
    current.get_by_role("button", name=f"Roll back: {second}").click()
    expect(current.locator("td").first).not_to_have_text(second)
    page.get_by_role("button", name=f"Promote: {second}").click()
    expect(current.locator("td").first).to_have_text(second)


def test_quality_is_that_of_the_replay(visit: Visit, shop: Any) -> None:
    import json

    blend = json.loads(shop.report.read_text())["next"]["strict"]["blend"]
    page = visit("quality")
    expect(page.locator(".facts").first).to_contain_text(f"{blend['hr@10']:.4f}")
    expect(page.locator("svg[role=img] polyline")).to_have_count(5)
    buckets = page.get_by_role("region", name="HR@10 by length of history").locator("tbody tr")
    assert buckets.count() >= 2
    tenths = page.get_by_role("region", name="Popularity by decile").locator("tbody tr")
    assert tenths.count() == 10
