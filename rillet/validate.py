"""What is wrong with an event log, what it will do to recommendations, and how to mend it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from rillet.survey import FIRST, Survey, Tally
from stream.clock import Clock, SystemClock
from stream.log import read_log
from stream.settings import Settings

__all__ = ["Problem", "Report", "validate"]

TIED: Final = 0.2
"""Above this share of ties, the order within a session is a matter of the file."""


@dataclass(frozen=True)
class Problem:
    """One kind of thing that is wrong.

    Attributes
    ----------
    code
        A short name that never changes, for scripts.
    level
        ``bad`` records are refused, a ``warning`` costs quality, a ``note`` is good to know.
    count
        How many records have it.
    message, effect, mend
        What it is, what it does to recommendations, what to do.
    lines
        The first line numbers, where lines can be named.
    details
        Counts by reason, type or name, the most frequent first.
    """

    code: str
    level: str
    count: int
    message: str
    effect: str
    mend: str
    lines: list[int] = field(default_factory=list)
    details: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """What a log holds and what is wrong with it.

    Attributes
    ----------
    bad
        The first bad records: line, reason, field and message.
    problems
        The worst first.
    """

    log: str
    records: int
    kinds: dict[str, int]
    types: dict[str, int]
    first_ms: int | None
    last_ms: int | None
    statistics: dict[str, float]
    bad: list[tuple[int, str, str, str]]
    problems: list[Problem]

    @property
    def ok(self) -> bool:
        """Whether every record can be read."""
        return not any(problem.level == "bad" for problem in self.problems)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        keys = ("line", "reason", "field", "message")
        plain = asdict(self)
        plain["bad"] = [dict(zip(keys, row, strict=True)) for row in self.bad]
        return {"ok": self.ok, **plain}


def validate(
    path: str | Path,
    settings: Settings | None = None,
    *,
    clock: Clock | None = None,
    on_bytes: Callable[[int], None] | None = None,
) -> Report:
    """Read a whole log and judge it.

    Parameters
    ----------
    path
        The log, as :func:`stream.log.read_log` takes it.
    settings
        Interaction types, session gap, text fields and limits; the defaults where None.
    clock
        Tells which events are from the future; the wall clock where None.
    on_bytes
        Told how far the reading is.

    Raises
    ------
    LogError
        The file is missing or damaged.

    Examples
    --------
    >>> import tempfile
    >>> log = Path(tempfile.mkdtemp(), "log.jsonl")
    >>> _ = log.write_text('{"event":"item"}')
    >>> report = validate(log)
    >>> report.ok, [(p.code, p.lines) for p in report.problems if p.level == "bad"]
    (False, [('bad-records', [1])])
    """
    survey = Survey(settings or Settings(), (clock or SystemClock()).now_ms())
    for line, record in read_log(path, on_bytes=on_bytes):
        survey.take(line, record)
    survey.finish()
    problems = [problem for judge in _JUDGES for problem in judge(survey) if problem.count]
    order = ("bad", "warning", "note")
    return Report(
        log=str(path),
        records=survey.kinds.total(),
        kinds=dict(survey.kinds.most_common()),
        types=dict(survey.types.most_common()),
        first_ms=survey.first_ms,
        last_ms=survey.last_ms,
        statistics=_statistics(survey),
        bad=survey.bad_lines,
        problems=sorted(problems, key=lambda problem: order.index(problem.level)),
    )


def _statistics(survey: Survey) -> dict[str, float]:
    actors, lengths = survey.actors.values(), survey.session_lengths
    clicked = sum(survey.rankings.values())
    found: dict[str, float] = {
        "active_users": len(actors),
        "items_described": len(survey.item_times),
        "items_used": len(survey.item_uses),
        "interactions_per_user_median": median(a[0] for a in actors) if actors else 0,
        "sessions_per_user_median": median(a[2] for a in actors) if actors else 0,
        "interactions_per_session_median": median(lengths) if lengths else 0,
        "positives": survey.positives,
        "repeat_rate": survey.repeats / survey.positives if survey.positives else 0.0,
        "rankings": survey.kinds["ranking"],
        "rankings_clicked": clicked,
        "rankings_with_propensities": survey.propensities,
    }
    return {name: round(value, 4) for name, value in found.items()}


def _found(  # noqa: PLR0913 - the columns of a table
    code: str, level: str, tally: Tally, message: str, effect: str, mend: str
) -> Problem:
    details = dict(tally.details.most_common(FIRST))
    return Problem(code, level, tally.count, message, effect, mend, tally.lines, details)


def _records(survey: Survey) -> Iterable[Problem]:
    yield _found(
        "bad-records", "bad", survey.bad,
        "records that are no events",
        "live they go to the dead-letter topic; nothing is learned from them",
        "mend what writes them; each is listed with its line and field",
    )  # fmt: skip
    yield _found(
        "future", "warning", survey.future,
        "events from the future",
        "live they go to the dead-letter topic, as if they were bad",
        "check clocks and units (milliseconds, not microseconds), or raise batch.future_s",
    )  # fmt: skip
    yield _found(
        "duplicates", "warning", survey.duplicates,
        "records whose id came before",
        "a repeated click counts twice: the item looks more popular than it is",
        "give each deed one id for ever, and drop repeated ids before publishing",
    )  # fmt: skip
    yield Problem(
        "no-id", "note", survey.no_id,
        "records without an id",
        "a repetition of them cannot be told; clicks cannot name a list without id",
        "set `id`, at the least on rankings",
    )  # fmt: skip


def _order(survey: Survey) -> Iterable[Problem]:
    yield _found(
        "out-of-order", "warning", survey.late,
        f"deeds older than one before them, by up to {_span(survey.latest_by_ms)}",
        "sessions get cut and what follows what is learned wrongly around them",
        "sort by timestamp; `rillet import metarank LOG -o SORTED` does it, in bounded memory",
    )  # fmt: skip
    yield _found(
        "stale-items", "warning", survey.stale_items,
        "item events older than a later state of the item before them",
        "the older text and price replace the newer ones",
        "sort by timestamp, or drop them",
    )  # fmt: skip
    share = survey.tied / survey.followed if survey.followed else 0.0
    yield Problem(
        "ties", "note", survey.tied if share > TIED else 0,
        f"successive deeds of a user with the same timestamp ({share:.0%} of all)",
        "their order is only that of the file; trust the `strict` rows of an evaluation",
        "log milliseconds where the source has them",
    )  # fmt: skip


def _span(ms: int) -> str:
    for unit, size in (("days", 86_400_000), ("h", 3_600_000), ("min", 60_000)):
        if ms >= 2 * size:
            return f"{ms / size:.0f} {unit}"
    return f"{ms / 1000:.1f} s"


def _uses(uses: Iterable[tuple[str, list[int]]]) -> Tally:
    ordered = sorted(uses, key=lambda use: use[1][1])
    lines = [use[1] for _, use in ordered[:FIRST]]
    counts = Counter({name: use[0] for name, use in ordered})
    return Tally(sum(counts.values()), lines, counts)


def _items(survey: Survey) -> Iterable[Problem]:
    unknown = [(name, use) for name, use in survey.item_uses.items()
               if name not in survey.item_times]  # fmt: skip
    tally = _uses(unknown)
    yield _found(
        "unknown-items", "warning", tally,
        f"uses of {len(unknown):,} items without an item event",
        "they are learned from deeds alone: no text, no category, no cold start",
        "publish one `item` event for each, best before its first use",
    )  # fmt: skip
    yield _found(
        "no-text", "warning", survey.no_text,
        "item events without any text field",
        "content similarity cannot see these items; new ones stay hidden until clicked",
        f"give them one of: {', '.join(survey.settings.encoder.fields)} (or set encoder.fields)",
    )  # fmt: skip


def _types(survey: Survey) -> Iterable[Problem]:
    yield _found(
        "unlisted-types", "warning", survey.unlisted,
        "interactions of a type that the settings do not list",
        "they count as neutral: seen, but nothing is learned from them",
        'list them in rillet.toml: [interactions.TYPE] role = "positive", weight = 1.0',
    )  # fmt: skip
    no_positives = survey.kinds["interaction"] > 0 and survey.positives == 0
    yield Problem(
        "no-positives", "warning", int(no_positives),
        "no interaction of the whole log is positive",
        "there is nothing to learn; only the newest items can be recommended",
        "set the roles of the types that show interest to positive",
    )  # fmt: skip


def _rankings(survey: Survey) -> Iterable[Problem]:
    asked = {name: use for name, use in survey.asked.items() if name not in survey.rankings}
    early = {name: use for name, use in survey.asked.items() if name in survey.rankings}
    yield _found(
        "unknown-rankings", "warning", _uses(asked.items()),
        f"interactions that name {len(asked):,} rankings which are not in the log",
        "they count as organic clicks; the blend learns nothing from what was passed over",
        "publish the `ranking` event too, with the same id",
    )  # fmt: skip
    yield _found(
        "early-clicks", "warning", _uses(early.items()),
        "interactions that come before the ranking they name",
        "they count as organic clicks, and the list looks ignored",
        "publish a ranking when it is shown, before its clicks; sort by timestamp",
    )  # fmt: skip
    yield _found(
        "wrong-user", "warning", survey.wrong_user,
        "interactions with a list that was shown to another user",
        "the click and the list end in different partitions and do not meet",
        "use one and the same user (or session) id in both events",
    )  # fmt: skip
    yield _found(
        "not-shown", "warning", survey.not_shown,
        "interactions with an item that their ranking did not show",
        "the example is lost for learning what to prefer",
        "log the list as it was shown, after the last filter",
    )  # fmt: skip
    yield _found(
        "empty-rankings", "note", survey.empty_lists,
        "rankings that show nothing", "none", "leave them out",
    )  # fmt: skip
    passed = len(survey.rankings) - sum(survey.rankings.values())
    yield Problem(
        "never-clicked", "note", passed,
        f"of {len(survey.rankings):,} rankings never got a positive interaction",
        "none; that is life. All of them would mean that clicks do not name their list",
        "if it is nearly all: set `ranking` on interactions",
    )  # fmt: skip


def _absent(survey: Survey) -> Iterable[Problem]:
    yield Problem(
        "no-items", "warning", int(survey.deeds > 0 and not survey.item_times),
        "the log has no item events at all",
        "content similarity, categories and prices are idle; new items stay hidden",
        "publish the catalogue as `item` events; `rillet import csv --items` can join it",
    )  # fmt: skip
    yield Problem(
        "no-rankings", "note", int(survey.deeds > 0 and not survey.kinds["ranking"]),
        "the log does not say what was shown",
        "the blend learns from what was taken alone, not from what was passed over",
        "publish a `ranking` event for each list shown",
    )  # fmt: skip
    yield Problem(
        "empty", "warning", int(not survey.kinds),
        "the log is empty", "there is nothing to learn", "check the path or the export",
    )  # fmt: skip


_JUDGES: Final = (_records, _order, _items, _types, _rankings, _absent)
