"""One frozen Settings, read once at the door: defaults, a TOML file, the environment.

The environment wins over the file, the file over the defaults. Variables begin
with ``RILLET_`` and join nested names by two underscores:
``RILLET_KAFKA__BOOTSTRAP=broker:9092``. An unknown name is an error in either.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from pathlib import Path
from typing import Any, Final, Literal, get_args

from pydantic import Field as Setting
from pydantic import ValidationError

from stream.encoder_settings import EncoderTuningSettings
from stream.errors import SettingsError
from stream.export_settings import MetricsSettings, TracingSettings
from stream.kafka_settings import KafkaSettings
from stream.limit_settings import LimitsSettings
from stream.privacy_settings import PrivacySettings
from stream.redis_settings import RedisSettings
from stream.serve_settings import ServeSettings
from stream.setting_group import Group as _Group
from stream.transformer_settings import TransformerSettings

__all__ = [
    "ArchiveSettings",
    "BatchSettings",
    "BlendSettings",
    "EncoderSettings",
    "InteractionType",
    "ItemsSettings",
    "KafkaSettings",
    "NeighboursSettings",
    "RecommendSettings",
    "RedisSettings",
    "SessionSettings",
    "Settings",
    "SourcesSettings",
    "TrainingSettings",
    "load_settings",
]

PREFIX: Final = "RILLET_"
FILE_VARIABLE: Final = "RILLET_SETTINGS"
DEFAULT_FILE: Final = "rillet.toml"
NOT_SETTINGS: Final = ("RILLET_SETTINGS", "RILLET_TEST_")
"""Variables with our prefix that are no settings: the file's path, the tests' servers."""


class BatchSettings(_Group):
    """How a consumer cuts the stream into micro-batches."""

    max_records: int = Setting(512, ge=1, description="records in one micro-batch at the most")
    wait_ms: int = Setting(
        200, ge=1, description="how long a poll waits for the first record; one that comes ends it"
    )
    commit_ms: int = Setting(
        200, ge=0, description="Kafka is told positions so often at the most, Redis each batch"
    )
    cut: int = Setting(
        0, ge=0, description="for tests: cut batches at multiples of this offset; 0 = off"
    )
    lockstep: bool = Setting(
        False, description="for tests: wait for `neighbours` to catch up after each batch"
    )
    max_bytes: int = Setting(1_048_576, ge=1, description="longer records are dead letters")
    future_s: float = Setting(
        3600, ge=0, description="events further ahead of the clock are dead letters"
    )


class InteractionType(_Group):
    """What one type of interaction means.

    ``positive_from`` makes the role depend on the event's value: at or above
    it the event is positive, below it negative.
    """

    role: Literal["positive", "negative", "neutral"] = "positive"
    weight: float = Setting(1.0, ge=0, le=15.9375, description="in steps of 1/16")
    positive_from: float | None = None


def _default_types() -> dict[str, InteractionType]:
    positive = {"view": 0.5, "click": 1.0, "like": 2.0, "cart": 2.0, "purchase": 3.0, "rating": 1.0}
    types = {name: InteractionType(weight=weight) for name, weight in positive.items()}
    types["dwell"] = InteractionType(positive_from=10.0)
    for name in ("dislike", "return", "skip"):
        types[name] = InteractionType(role="negative")
    return types


class SessionSettings(_Group):
    """What is remembered of a user."""

    gap_s: float = Setting(1800, gt=0, description="silence after which a new session begins")
    history: int = Setting(100, ge=1, le=1000, description="interactions remembered, latest first")
    owned: int = Setting(300, ge=1, description="distinct items counted for repeat consumption")
    ignored: int = Setting(200, ge=1, description="items remembered as shown and not taken")
    cached: int = Setting(
        20_000, ge=0, description="users, seen last, whose states a process keeps; some 20 KB each"
    )


class NeighboursSettings(_Group):
    """Item-to-item statistics."""

    window: int = Setting(10, ge=1, le=50, description="items of the session that point onward")
    decay: float = Setting(0.8, gt=0, le=1, description="weight of each further item back")
    half_life_days: float = Setting(90, gt=0, description="after which a transition counts half")
    capacity: int = Setting(2000, ge=10, description="successors kept for an item")
    served: int = Setting(100, ge=1, description="successors of an item in the public list")


class EncoderSettings(_Group):
    """The text encoder."""

    model: str = Setting(
        "builtin", description="`builtin` (all-MiniLM-L6-v2), a local folder, or a hub id"
    )
    max_tokens: int = Setting(96, ge=8, le=512, description="longer texts are cut")
    fields: tuple[str, ...] = Setting(
        ("title", "name", "categories", "category", "genres", "tags", "description"),
        description="item fields that make its text, in this order",
    )
    int8: bool = Setting(True, description="ONNX int8 where it holds cosine 0.99 to fp32")
    threads: int = Setting(1, ge=1, description="threads of one process for encoding")
    cache_dir: str = Setting(
        "", description="folder of exported encoders; empty = rillet in the user's cache folder"
    )

    @property
    def cache_folder(self) -> Path:
        """Where exported encoders are kept: as set, else by the XDG rules."""
        if self.cache_dir:
            return Path(self.cache_dir).expanduser()
        base = os.environ.get("XDG_CACHE_HOME", "")
        return (Path(base) if base else Path.home() / ".cache") / "rillet" / "encoders"


class ItemsSettings(_Group):
    """What the fields of an item mean, and how much of an item is kept."""

    title: tuple[str, ...] = Setting(
        ("title", "name"), description="the first present is the title"
    )
    texts: tuple[str, ...] = Setting(
        ("description", "summary", "overview", "synopsis", "body"),
        description="prose, never compared word for word between items",
    )
    categories: tuple[str, ...] = Setting(
        ("category", "categories", "genres", "genre"), description="together the item's categories"
    )
    brand: tuple[str, ...] = Setting(
        ("brand", "author", "director", "artist", "manufacturer", "publisher", "channel"),
        description="who made it; the first present",
    )
    price: tuple[str, ...] = Setting(("price",), description="the first present is the price")
    max_fields: int = Setting(64, ge=1, description="fields kept of an item; further ones are cut")
    max_values: int = Setting(64, ge=1, description="values kept of a list; further ones are cut")
    max_chars: int = Setting(4000, ge=100, description="longer texts of a field are cut")
    own_vectors: float = Setting(
        0.5, ge=0, le=1, description="share of an item's own vectors beside its text's"
    )
    ttl_days: float = Setting(365, gt=0, description="life of cards and vectors after a write")
    vectors_dir: str = Setting(
        "/dev/shm",  # noqa: S108 - a folder of the user's own is made in it
        description="folder, best in memory, where this host's processes share items' vectors;"
        " empty = a copy in each",
    )


class SourcesSettings(_Group):
    """Candidate sources."""

    enabled: tuple[str, ...] = Setting(
        (), description="names of the sources to use; empty = all of them"
    )
    top: int = Setting(50, ge=1, le=1000, description="candidates that each source proposes")
    content_axes: int = Setting(
        64, ge=0, description="main axes on which content is compared; 0 = all of a vector"
    )


class BlendSettings(_Group):
    """The River learner that blends the sources."""

    learning_rate: float = Setting(0.1, gt=0)
    l2: float = Setting(1e-6, ge=0)
    sample: float = Setting(
        0.1, gt=0, le=1, description="share of positives and of shown lists learned from"
    )
    join_s: float = Setting(300, gt=0, description="how long a shown list waits for its clicks")
    share: int = Setting(
        32,
        ge=0,
        description="examples after which processes tell each other what they learned; 0 = never",
    )
    seed: int = 0


class RecommendSettings(_Group):
    """The finished list."""

    length: int = Setting(50, ge=1, le=1000)
    explained: int = Setting(10, ge=0, description="first items of a list that come with reasons")
    diversity: float = Setting(0.1, ge=0, le=1, description="MMR: 0 = by score alone")
    repeats: Literal["auto", "allow", "exclude"] = Setting(
        "auto", description="items the user already took; `auto` learns it from the stream"
    )
    explore: int = Setting(1, ge=0, description="slots of the list given to new items")
    exclude_types: tuple[str, ...] = Setting(
        (), description="types after which an item is not shown again while the history holds it"
    )


class ArchiveSettings(_Group):
    """The stream on disk, in Parquet files by day: for training and for replays."""

    enabled: bool = Setting(False, description="whether `rillet up` runs `archive` too")
    url: str = Setting(
        "archive", min_length=1, description="a path or fsspec URL, such as s3://shop/archive"
    )
    max_rows: int = Setting(100_000, ge=1, description="a partition's rows after which it writes")
    max_s: float = Setting(60, gt=0, description="seconds after which it writes in any case")
    max_mb: float = Setting(64, gt=0, description="megabytes in hand, of all partitions together")
    retry_s: float = Setting(300, ge=0, description="patience with a filesystem that refuses")
    keep_days: int = Setting(
        0, ge=0, description="full days that `rillet archive prune` keeps; 0 = all"
    )


class TrainingSettings(_Group):
    """Models that are trained: where they are kept, and when one takes another's place."""

    registry: str = Setting(
        "models-registry",
        min_length=1,
        description="folder of trained models; any path or fsspec URL, such as s3://shop/models",
    )
    sure: float = Setting(
        0.95, gt=0.5, lt=1, description="how sure the gate must be that a model is not worse"
    )
    tolerance: float = Setting(
        0.02, ge=0, lt=1, description="share of the current model's value that may be lost"
    )
    keep: int = Setting(
        5, ge=1, description="versions of each kind that `rillet models prune` leaves"
    )


class Settings(_Group):
    """All settings; frozen. Build it with :func:`load_settings`."""

    kafka: KafkaSettings = KafkaSettings()
    redis: RedisSettings = RedisSettings()
    privacy: PrivacySettings = PrivacySettings()
    batch: BatchSettings = BatchSettings()
    limits: LimitsSettings = LimitsSettings()
    session: SessionSettings = SessionSettings()
    neighbours: NeighboursSettings = NeighboursSettings()
    encoder: EncoderSettings = EncoderSettings()
    items: ItemsSettings = ItemsSettings()
    sources: SourcesSettings = SourcesSettings()
    blend: BlendSettings = BlendSettings()
    recommend: RecommendSettings = RecommendSettings()
    archive: ArchiveSettings = ArchiveSettings()
    training: TrainingSettings = TrainingSettings()
    transformer: TransformerSettings = TransformerSettings()
    encoder_tuning: EncoderTuningSettings = EncoderTuningSettings()
    serve: ServeSettings = ServeSettings()
    metrics: MetricsSettings = MetricsSettings()
    tracing: TracingSettings = TracingSettings()
    interactions: dict[str, InteractionType] = Setting(
        default_factory=_default_types, description="type of interaction -> what it means"
    )


def load_settings(file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings file and the environment, and freeze them.

    Parameters
    ----------
    file
        A TOML file; where None, ``$RILLET_SETTINGS``, else ``rillet.toml`` in
        the current folder if there is one.
    overrides
        Groups that win over both, as nested dicts: ``redis={"url": ...}``.

    Raises
    ------
    SettingsError
        The file is missing or malformed, or a name or value is wrong; the
        message names the setting and, for a misspelt one, the nearest.
    """
    layers = [_from_file(file), _from_environment(), overrides]
    merged: dict[str, Any] = {}
    for layer in layers:
        _merge(merged, layer)
    types = {name: kind.model_dump() for name, kind in _default_types().items()}
    merged["interactions"] = types | merged.get("interactions", {})
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError(_explain(error), "`rillet init --print` lists all settings") from error


def _from_file(file: Path | None) -> dict[str, Any]:
    named = file or (Path(p) if (p := os.environ.get(FILE_VARIABLE)) else None)
    path = named or Path(DEFAULT_FILE)
    if not path.exists():
        if named is None:
            return {}
        raise SettingsError(f"there is no settings file {path}", "`rillet init` writes one")
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise SettingsError(f"{path}: {error}") from error


def _from_environment() -> dict[str, Any]:
    layer: dict[str, Any] = {}
    for name, value in sorted(os.environ.items()):
        if not name.startswith(PREFIX) or name.startswith(NOT_SETTINGS):
            continue
        path = name[len(PREFIX) :].lower().split("__")
        place = layer
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = _value(path, value)
    return layer


def _value(path: list[str], text: str) -> Any:
    """Split lists by comma; pydantic reads numbers and booleans itself."""
    group = Settings.model_fields.get(path[0])
    kind = group.annotation if group else None
    field = getattr(kind, "model_fields", {}).get(path[-1])
    if field is not None and Ellipsis in get_args(field.annotation):
        return [part.strip() for part in text.split(",") if part.strip()]
    return text


def _merge(into: dict[str, Any], layer: dict[str, Any]) -> None:
    for name, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value


def _explain(error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        name = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(name, _names(), n=1)
            lines.append(f"unknown setting {name}" + (f"; is {near[0]} meant?" if near else ""))
        else:
            # A rule that spans several settings names them itself.
            lines.append(said if said.startswith(f"{name}.") else f"{name}: {said}")
    return "; ".join(lines)


def _names() -> list[str]:
    names = []
    for group, field in Settings.model_fields.items():
        for name in getattr(field.annotation, "model_fields", {}):
            names.append(f"{group}.{name}")
        names.append(group)
    return names
