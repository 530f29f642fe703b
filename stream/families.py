"""The metrics as Prometheus knows them: names, units, labels, and what each is read from."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from stream import gauges

__all__ = [
    "AGE",
    "BUILD",
    "COUNTERS",
    "FRESHNESS",
    "GAUGES",
    "INFO",
    "REASONS",
    "STEPS",
    "Counted",
    "Family",
    "all_families",
]

REASONS: Final = ("future", "malformed", "misplaced", "oversize", "reserved")
"""Why records are set aside; each is there from the start, so that the first one shows."""


class Family(NamedTuple):
    """One metric.

    Attributes
    ----------
    name
        With its unit; a counter's without the ``_total`` that it is shown with.
    help
        What it says.
    labels
        Beside ``consumer``, which all have. None of them ever names a user or an item.
    source
        The gauge that it is read from.
    """

    name: str
    help: str
    labels: tuple[str, ...] = ()
    source: str = ""


class Counted(NamedTuple):
    """A counter of :mod:`stream.metrics` as a metric.

    Attributes
    ----------
    counter
        Its name; where the metric has a label, what comes before the label's value.
    family
        The metric.
    known
        Values of the label that are there from the start.
    """

    counter: str
    family: Family
    known: tuple[str, ...] = ()


COUNTERS: Final = (
    Counted("events", Family("rillet_events", "Records handled, their results written.")),
    Counted(
        "dead.",
        Family("rillet_dead_letters", "Records set aside as no usable events.", ("reason",)),
        REASONS,
    ),
    Counted(
        "skipped",
        Family("rillet_skipped_events", "Events that were known already, read once more."),
    ),
    Counted(
        "refused",
        Family("rillet_late_writes", "Writes that came too late: another process was further."),
    ),
    Counted("busy", Family("rillet_busy_events", "Events of users that go too fast.")),
    Counted("drift", Family("rillet_drift", "Times that ADWIN found a learner's loss risen.")),
    Counted("cut.", Family("rillet_cut_values", "Parts of events beyond a limit.", ("limit",))),
    Counted("sessions.mended", Family("rillet_mended_sessions", "Users' states put right.")),
    Counted("items.cut", Family("rillet_cut_items", "Items with more than is kept of one.")),
    Counted("items.encoded", Family("rillet_encoded_items", "Items whose text was encoded.")),
    Counted("models.swapped", Family("rillet_model_swaps", "Transformers taken into use.")),
    Counted("models.refused", Family("rillet_model_refusals", "Models that could not be used.")),
    Counted("encoders.swapped", Family("rillet_encoder_swaps", "Text encoders taken into use.")),
    Counted(
        "encoders.unfilled",
        Family("rillet_encoder_failures", "Times that items' texts could not be encoded."),
    ),
    Counted("archived", Family("rillet_archived_events", "Events taken for the archive.")),
    Counted("left_out", Family("rillet_left_out_events", "Records that are not archived.")),
    Counted(
        "trainings.",
        Family("rillet_trainings", "Models trained, by the gate's word.", ("outcome",)),
        ("promoted", "refused"),
    ),
)

STEPS: Final = Family("rillet_step_seconds", "What a step of a batch took.", ("step",))
FRESHNESS: Final = Family(
    "rillet_freshness_seconds",
    "From the broker's time of a batch's oldest record until its results are written.",
)

GAUGES: Final = (
    Family("rillet_lag_records", "Records that wait.", ("topic", "partition"), gauges.LAG),
    Family(
        "rillet_last_beat_timestamp_seconds",
        "When the consumer's loop was last seen to turn, since the epoch.",
        (),
        gauges.BEAT,
    ),
    Family(
        "rillet_learner_examples",
        "Examples behind a partition's learner.",
        ("head", "partition"),
        gauges.EXAMPLES,
    ),
    Family("rillet_catalogue_items", "Items that lists are made of.", (), gauges.ITEMS),
)

INFO: Final = Family(
    "rillet_model_info", "1 for each model in use.", ("kind", "version"), gauges.MADE
)
AGE: Final = Family("rillet_model_age_seconds", "Time since it was made.", ("kind",), gauges.MADE)
BUILD: Final = Family("rillet_build_info", "1; which version of Rillet runs.", ("version",))


def all_families() -> Iterator[tuple[str, str, Family]]:
    """Yield name as it is shown, kind and family of each metric of ours."""
    counters: Iterable[Family] = (one.family for one in COUNTERS)
    yield from ((f"{one.name}_total", "counter", one) for one in counters)
    yield from ((one.name, "histogram", one) for one in (STEPS, FRESHNESS))
    yield from ((one.name, "gauge", one) for one in (*GAUGES, INFO, AGE, BUILD))
