"""Access logs for OpenTelemetry as configured (envoy.extensions.access_loggers.open_telemetry.v3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from meshproxy.model.grpc_service import GrpcService
from meshproxy.records import dataclass

OtlpValue = Callable[[Any], str] | dict[str, Any] | list[Any]
"""What makes a value of a record out of a stream: a text, or such values by name, or in a row."""


@dataclass(frozen=True, slots=True)
class OtlpHttp:
    """A collector that is reached over HTTP. timeout: seconds."""

    cluster: str
    host: str
    path: str
    timeout: float
    headers: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class OtlpLogService:
    """A collector.

    resource: attributes of this proxy, each with its encoded `AnyValue`. body: None for none. tags: further attributes,
    left out where they have nothing to say. flush_interval: seconds; buffer_size: bytes that are gathered before.
    """

    collector: GrpcService | OtlpHttp
    resource: tuple[tuple[str, bytes], ...]
    body: OtlpValue | None
    attributes: tuple[tuple[str, OtlpValue], ...]
    tags: tuple[tuple[str, Callable[[Any], str | None]], ...]
    flush_interval: float
    buffer_size: int
    stat_prefix: str
