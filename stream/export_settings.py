"""Settings of what processes tell of themselves: metrics for Prometheus, traces."""

from __future__ import annotations

from pydantic import Field as Setting

from stream.setting_group import Group

__all__ = ["MetricsSettings", "TracingSettings"]


class MetricsSettings(Group):
    """Metrics of consumers for Prometheus, over HTTP and without a password."""

    port: int = Setting(
        0,
        ge=0,
        le=65_535,
        description="where a consumer answers GET /metrics; 0 = nowhere; `rillet up` gives its"
        " children this one and those that follow",
    )
    host: str = Setting(
        "127.0.0.1", min_length=1, description="address to listen on; 0.0.0.0 is all of them"
    )


class TracingSettings(Group):
    """OpenTelemetry traces of batches; they need `pip install 'rillet[otel]'`."""

    enabled: bool = Setting(False, description="whether consumers send spans")
    endpoint: str = Setting(
        "http://127.0.0.1:4318/v1/traces",
        min_length=1,
        description="URL of a collector that takes OTLP over HTTP",
    )
    sample: float = Setting(
        0.01,
        ge=0,
        le=1,
        description="share of batches; one with an event of a sampled trace is traced anyway",
    )
