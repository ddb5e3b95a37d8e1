"""What is asked of a rate limit service (`envoy.service.ratelimit.v3`), over HTTP streams and connections alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest

from meshproxy.model.grpc_service import GrpcService
from meshproxy.model.rate_limit import Entries
from meshproxy.plugin.context import FactoryContext

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

METHOD = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"
_TIMEOUT = 0.02

Descriptor = tuple[Entries, int, tuple[int, int] | None]
"""What describes the request, how much it weighs, and the limit that takes the place of the service's own."""


def encode_question(domain: str, descriptors: Sequence[Descriptor]) -> bytes:
    question = RateLimitRequest(domain=domain)
    for entries, hits, override in descriptors:
        descriptor = question.descriptors.add()
        for key, value in entries:
            descriptor.entries.add(key=_text(key), value=_text(value))
        if override is not None:
            descriptor.limit.requests_per_unit, descriptor.limit.unit = override[0], cast(Any, override[1])
        if hits != 1:
            descriptor.hits_addend.value = hits
    return bytes(question.SerializeToString())


def _text(value: str) -> str:
    """Text of the wire (Latin-1) as a protobuf text."""
    return value if value.isascii() else value.encode("latin-1").decode("utf-8", "replace")


def read_rate_limit_service(view: ConfigView, context: FactoryContext) -> GrpcService:
    """`rate_limit_service` and `timeout` of a filter. Raises ConfigError."""
    holder = view.required("rate_limit_service")
    if holder.enum("transport_api_version") == "V2":
        holder.fail("the second version of the API is no more", "transport_api_version")
    service = context.compile_grpc_service(holder.required("grpc_service"))
    return replace(service, timeout=view.duration("timeout") or service.timeout or _TIMEOUT)
