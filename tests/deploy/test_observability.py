"""Dashboard, alert rules and scrape configuration, against what a consumer really exposes."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from stream.families import COUNTERS, REASONS, all_families
from tests.deploy.promql import parse
from tests.scraping import Scraped

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy" / "observability"
PROMTOOL = shutil.which("promtool") or shutil.which(ROOT / "build" / "promtool")
PAGE = (ROOT / "docs" / "observability.md").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text("utf-8"))
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text("utf-8"))
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
EXPRESSIONS = [
    *((rule["alert"], rule["expr"]) for rule in RULES),
    *((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
]
EVERYWHERE = {"job", "instance"}
OF_PROMETHEUS = {"up": set[str](), "ALERTS": {"alertname", "alertstate"}}
SHAPES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("",), "gauge": ("",)}


def labels_of_metrics() -> dict[str, set[str]]:
    """Return every name that can be asked for, with its labels."""
    ours = {
        f"{name}{suffix}": {"consumer", *family.labels} | ({"le"} if suffix == "_bucket" else set())
        for name, kind, family in all_families()
        for suffix in SHAPES[kind]
    }
    return ours | OF_PROMETHEUS


def names_of(scraped: str) -> set[str]:
    """Return every name that a scrape has, also of metrics without a value so far."""
    found = set()
    for family in text_string_to_metric_families(scraped):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found |= {f"{name}{suffix}" for suffix in SHAPES.get(family.type, ("",))}
    return found


@pytest.mark.parametrize(("title", "text"), EXPRESSIONS, ids=[one for one, _ in EXPRESSIONS])
def test_what_is_asked_for_is_what_a_consumer_exposes(
    scraped: Scraped, title: str, text: str
) -> None:
    there, known, asked = names_of(scraped.text), labels_of_metrics(), parse(text)
    assert asked.selectors or "time()" in text
    for one in asked.selectors:
        assert one.metric in there | set(OF_PROMETHEUS), title
        labels = known.get(one.metric, set()) | EVERYWHERE
        assert one.labels <= labels, title
        if one.ranged:
            assert re.search(r"_(total|sum|count|bucket)$", one.metric), "a rate of no counter"
    labels = {label for one in asked.selectors for label in known.get(one.metric, ())}
    assert asked.grouped <= labels | EVERYWHERE, title


@pytest.mark.parametrize(
    "text",
    [
        "sum(rate(a_total[5m])",
        "sum(a))",
        "rate(a_total)",
        "a[5m]",
        'a{b="c}',
        "a{b=c}",
        'a{"c"}',
        "rat(a_total[5m])",
        "sum by (a) (rate(b_total[five]))",
        'a = "b"',
        "a § b",
    ],
)
def test_a_broken_expression_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - each for a reason of its own
        parse(text)


def test_the_parser_finds_names_and_labels() -> None:
    found = parse('max by (x) (a{b="c", d!~"e|f"}) / on (y) group_left (z) rate(g_total[5m]) > 3d')
    assert [(one.metric, one.labels) for one in found.selectors] == [
        ("a", {"b", "d"}),
        ("g_total", set()),
    ]
    assert found.grouped == {"x", "y", "z"}


def test_every_counter_that_is_raised_is_exported() -> None:
    sources = itertools.chain.from_iterable(
        (ROOT / package).rglob("*.py") for package in ("stream", "features", "models", "consumers")
    )
    text = "".join(path.read_text("utf-8") for path in sources)
    calls = re.findall(r"metrics\.count\(([^()]*)", text)
    raised = {name for call in calls for name in re.findall(r'"([a-z_.]+)', call)}
    assert len(raised) > 10
    several = tuple(one.counter for one in COUNTERS if one.family.labels)
    raised = {next((s for s in several if name.startswith(s)), name) for name in raised}
    assert {one.counter for one in COUNTERS} == raised
    assert set(REASONS) == set(re.findall(r'BadRecord\(\s*"(\w+)"', text))


def test_names_have_units_and_nobody_is_in_a_label() -> None:
    for name, kind, family in all_families():
        assert re.fullmatch(r"rillet_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert kind != "histogram" or name.endswith("_seconds")
        assert family.help.endswith(".")
        assert not set(family.labels) & {"user", "session", "item", "key", "query"}


def test_the_page_has_every_metric_and_no_other() -> None:
    rows = re.findall(r"^\| `(rillet_\w+)` \| (\w+) \| ([^|]*) \|", PAGE, re.MULTILINE)
    written = {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}
    assert len(rows) == len(written)
    assert written == {name: (kind, set(one.labels)) for name, kind, one in all_families()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_says_how_bad_it_is_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    summary, runbook = rule["annotations"]["summary"], rule["annotations"]["runbook"]
    page, _, anchor = runbook.partition("#")
    assert page == "docs/observability.md"
    headings = [line for line in PAGE.splitlines() if line.startswith("### ")]
    assert f"### {rule['alert']}" in headings
    assert anchor == rule["alert"].lower()
    templated = set(re.findall(r"\$labels\.(\w+)", summary))
    asked = parse(rule["expr"])
    named = {label for one in asked.selectors for label in labels_of_metrics()[one.metric]}
    assert templated <= (asked.grouped or named | EVERYWHERE)


def test_the_page_has_a_section_for_every_alert_and_no_other() -> None:
    assert {f"### {rule['alert']}" for rule in RULES} == set(
        re.findall(r"^### Rillet.*", PAGE, re.MULTILINE)
    )


def test_panels_lie_side_by_side_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        cells = set(
            itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"]))
        )
        assert at["x"] + at["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    variables = {f"${one['name']}" for one in DASHBOARD["templating"]["list"]}
    used = {word for _, text in EXPRESSIONS for word in re.findall(r"\$\w+", text)}
    assert used <= variables | {"$__rate_interval"}


def test_compose_gives_the_containers_these_files() -> None:
    files = {name: ROOT / one["file"] for name, one in COMPOSE["configs"].items()}
    assert all(path.is_file() for path in files.values())
    mounted = {
        one["target"]: files[one["source"]]
        for service in COMPOSE["services"].values()
        for one in service.get("configs", [])
    }
    assert set(files.values()) == set(mounted.values())
    scrape = mounted["/etc/prometheus/prometheus.yml"]
    for name in yaml.safe_load(scrape.read_text("utf-8"))["rule_files"]:
        assert f"/etc/prometheus/{name}" in mounted
    provider = yaml.safe_load((FOLDER / "grafana-dashboards.yml").read_text("utf-8"))
    folder = provider["providers"][0]["options"]["path"]
    assert f"{folder}/rillet.json" in mounted
    home = COMPOSE["services"]["grafana"]["environment"][
        "GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"
    ]
    assert mounted[home] == FOLDER / "dashboard.json"


def test_prometheus_looks_for_every_consumer_where_it_listens() -> None:
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text("utf-8"))["scrape_configs"]
    assert job["job_name"] == "rillet"
    (found,) = job["dns_sd_configs"]
    consumers = {
        name: one
        for name, one in COMPOSE["services"].items()
        if one.get("command", [""])[0] == "consume"
    }
    assert set(found["names"]) == set(consumers)
    for one in consumers.values():
        assert one["environment"]["RILLET_METRICS__PORT"] == str(found["port"])
        assert one["environment"]["RILLET_METRICS__HOST"] == "0.0.0.0"  # noqa: S104 - a container's
        assert "ports" not in one
    source = yaml.safe_load((FOLDER / "grafana-datasource.yml").read_text("utf-8"))
    assert source["datasources"][0]["url"] == "http://prometheus:9090"


@pytest.mark.skipif(PROMTOOL is None, reason="scripts/promtool.py may not fetch it here")
@pytest.mark.parametrize(
    "arguments",
    [("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")]
    + [("test", "rules", "alerts.test.yml")],
    ids=" ".join,
)
def test_promtool_takes_it(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [str(PROMTOOL), *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
