"""The figures that are asked for first, flat: the top of the JSON, and the last table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

__all__ = ["headline"]

Results = Mapping[str, Any]


def headline(results: Results) -> dict[str, Any]:
    """Return the headlines of the parts that were measured.

    Examples
    --------
    >>> row = {"items": 1000, "cpu_us_per_event": 400.0, "rss_mib": 300.0}
    >>> more = {"items": 9000, "cpu_us_per_event": 500.0, "rss_mib": 350.0}
    >>> found = headline({"scaling": {"catalogues": [row, more]}})
    >>> found["catalogue_scaling"], found["catalogue_growth"]
    ({'1000': 400.0, '9000': 500.0}, 1.25)
    """
    found: dict[str, Any] = {}
    for part, pick in _PICKS.items():
        if part in results:
            found |= pick(results[part])
    return found


def _throughput(found: Results) -> dict[str, Any]:
    names = ("floor", "rillet", "rillet_with_transformer", "plain", "neighbours")
    cpu = {f"{name}_cpu_us_per_event": found[name]["cpu_us_per_event"] for name in names}
    return cpu | {
        "events_per_s": found["rillet"]["events_per_s"],
        "cpu_to_floor": found["to_floor"]["cpu"],
        "cpu_to_plain": found["to_plain"]["cpu"],
    }


def _scaling(found: Results) -> dict[str, Any]:
    rows = found["catalogues"]
    cpu = {str(row["items"]): row["cpu_us_per_event"] for row in rows}
    return {
        "catalogue_scaling": cpu,
        "catalogue_growth": round(rows[-1]["cpu_us_per_event"] / rows[0]["cpu_us_per_event"], 3),
        "rss_mib": {str(row["items"]): row["rss_mib"] for row in rows},
    }


def _freshness(found: Results) -> dict[str, Any]:
    rows = {str(row["load"]): row["latency_ms"] for row in found["loads"]}
    shares = ("p50", "p99", "p99_9")
    fresh = {load: {share: its[share] for share in shares} for load, its in rows.items()}
    return {"freshness_ms": fresh, "lost": found["lost"]}


def _memory(found: Results) -> dict[str, Any]:
    """Prefer the user with 20 events and a list of 50 to the mean of all."""
    per_user = found.get("typical", {}).get("bytes", found["bytes_per_user"])
    return {"bytes_per_user": per_user, "bytes_per_item": found["bytes_per_item"]}


def _startup(found: Results) -> dict[str, Any]:
    return {"startup_s": {str(row["items"]): row["first_list_s"] for row in found["catalogues"]}}


def _index(found: Results) -> dict[str, Any]:
    """Take the worst source of each catalogue, and the blend's best hundred."""
    rows = {str(row["items"]): row for row in found["catalogues"] if row["sources"]}
    worst = {
        size: min(its["recall"] for its in row["sources"].values()) for size, row in rows.items()
    }
    return {"index_recall": worst, "blend_recall": {n: row["blend_100"] for n, row in rows.items()}}


def _processes(found: Results) -> dict[str, Any]:
    rows = found["rows"]
    return {
        "process_efficiency_cpu": {str(row["processes"]): row["efficiency_cpu"] for row in rows},
        "process_efficiency_wall": {str(row["processes"]): row["efficiency_wall"] for row in rows},
    }


def _serve(found: Results) -> dict[str, Any]:
    rows = {f"{name} {n}": its for name, some in found["asked"].items() for n, its in some.items()}
    return {
        "serve_p99_ms": {name: its["p99_ms"] for name, its in rows.items()},
        "serve_per_core_s": {name: its["per_core_s"] for name, its in rows.items()},
    }


_PICKS: Final[dict[str, Callable[[Results], dict[str, Any]]]] = {
    "throughput": _throughput,
    "scaling": _scaling,
    "freshness": _freshness,
    "memory": _memory,
    "reads": lambda found: {"read_us": found["redis_py"]["get_us"]["p50"]},
    "import": lambda found: {"import_events_per_s": found["events_per_s"]},
    "startup": _startup,
    "index": _index,
    "training": lambda found: {"training_sequences_per_s": found["sequences_per_s"]},
    "encoding": lambda found: {"encoding_texts_per_s": found["cold"]["texts_per_s"]},
    "processes": _processes,
    "serve": _serve,
}
