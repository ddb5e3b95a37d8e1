"""Rate limits of connections by a service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.service.ratelimit.v3.rls_pb2 import RateLimitRequest, RateLimitResponse
from google.protobuf.json_format import ParseDict

from ..case import Act, Case, Client, Upstream
from ..grpc_peer import H2Op, message, service, status
from .network_filters import before_tcp

_TYPE = "type.googleapis.com/envoy.extensions.filters.network.ratelimit.v3.RateLimit"
_LOG = "%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% %DYNAMIC_METADATA(envoy.filters.network.ratelimit)%"


def limited(name: str, says: dict[str, Any] | Sequence[H2Op] = (), *, refused: bool = False, **settings: Any) -> Case:
    answer = says or {"overall_code": "OK"}
    if isinstance(answer, dict):
        answer = (message(ParseDict(answer, RateLimitResponse())), status(0))
    config = {
        "@type": _TYPE,
        "stat_prefix": "$case",
        "domain": "d",
        "timeout": "20s",
        "descriptors": [{"entries": [{"key": "k", "value": "v"}]}],
        "rate_limit_service": {
            "grpc_service": {"envoy_grpc": {"cluster_name": "$up2"}},
            "transport_api_version": "V3",
        },
        **settings,
    }
    final = tuple(answer)
    return before_tcp(
        f"ratelimit-{name}",
        [{"name": "limit", "typed_config": config}],
        Client(("hello", 0.3, Act.HALF_CLOSE), raw=True),
        log=_LOG,
        stats=r"^ratelimit\.$case\.",
        refused=refused,
        upstreams={
            "up": Upstream(((Act.ECHO,),), mode="raw"),
            "up2": service(lambda: lambda data: final, RateLimitRequest),
        },
    )


_DESCRIPTORS = [
    {"entries": [{"key": "a", "value": "x%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%y"}, {"key": "b", "value": "plain"}]},
    {"entries": [{"key": "c", "value": "%REQ(x)%"}]},
]

CASES = [
    limited("ok"),
    limited("over", {"overall_code": "OVER_LIMIT"}),
    limited("metadata", {"overall_code": "OK", "dynamic_metadata": {"a": "b"}}),
    limited("descriptors", descriptors=_DESCRIPTORS),
    limited("error", (status(13),)),
    limited("error-denied", (status(13),), failure_mode_deny=True),
    limited("bad-format", descriptors=[{"entries": [{"key": "a", "value": "%NONE%"}]}], refused=True),
    limited("without-domain", domain="", refused=True),
    limited("without-descriptors", descriptors=[], refused=True),
]
