"""bandwidth_limit: bodies that pass in their own time."""

from __future__ import annotations

import json
from typing import Any

from .. import known
from ..case import Case, Upstream, get
from ..grpc_peer import closing

_TYPE = "type.googleapis.com/envoy.extensions.filters.http.bandwidth_limit.v3.BandwidthLimit"
_BIG = "y" * 60_000
_LONG = f"HTTP/1.1 200 OK\r\ncontent-length: {len(_BIG)}\r\n\r\n{_BIG}"
_CHUNKS = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfa00\r\n" + "z" * 0xFA00 + "\r\n0\r\n\r\n"
_OWN_TRAILERS = _CHUNKS[:-2] + "x-own: 1\r\nbandwidth-response-delay-ms: 0\r\n\r\n"
_TRAILERS = "{http_protocol_options: {enable_trailers: true}}"
_UPSTREAM_TRAILERS = (
    "typed_extension_protocol_options: {http: {'@type': HttpProtocolOptions, "
    "explicit_http_config: {http_protocol_options: {enable_trailers: true}}}}"
)
_SHOWN = ("bandwidth-response-delay-ms: <some>", "bandwidth-response-filter-delay-ms: <some>")
_DELAYS = ((r"(delay-ms: )\d+", r"\1<some>"), (r"(_(?:incoming|allowed)_size|_enforced): [1-9]\d*", r"\1: <some>"))


def limited(
    name: str,
    config: dict[str, Any],
    *requests: str,
    answer: str = "",
    per_route: dict[str, Any] | None = None,
    **more: Any,
) -> Case:
    config = {"@type": _TYPE, "stat_prefix": "$case", **config}
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if per_route is not None:
        entry["typed_per_filter_config"] = {"limit": {"@type": _TYPE, "stat_prefix": "$case-route", **per_route}}
    return Case(
        f"bandwidth-limit-{name}",
        closing(requests or (get("/a", method="POST", body=_BIG),)),
        quiet=more.pop("quiet", 10.0),
        filters=json.dumps([{"name": "limit", "typed_config": config}]),
        routes=json.dumps([entry]),
        upstreams={"up": Upstream(((answer,),) if answer else Upstream().answers)},
        stats=more.pop("stats", r"^$case(-route)?\.http_bandwidth_limit\.(?!.*incoming_size)"),
        masks=_DELAYS,
        **more,
    )


_BOTH = {"enable_mode": "REQUEST_AND_RESPONSE", "limit_kbps": 100}
_SLOW = {"enable_mode": "RESPONSE", "limit_kbps": 40}
_TELLING = {**_SLOW, "enable_response_trailers": True}

CASES = [
    limited("request", {"enable_mode": "REQUEST", "limit_kbps": 40}),
    limited("response", _SLOW, get("/a"), answer=_LONG),
    limited("both-share", _BOTH, answer=_LONG),
    limited("within", {**_BOTH, "limit_kbps": 1000}, answer=_LONG),
    limited("interval", {**_SLOW, "fill_interval": "0.5s"}, get("/a"), answer=_LONG),
    limited("off", {"limit_kbps": 1}),
    limited("off-by-runtime", {**_BOTH, "limit_kbps": 1, "runtime_enabled": {"default_value": False}}),
    limited("route", {"enable_mode": "REQUEST", "limit_kbps": 1}, per_route=_SLOW, answer=_LONG),
    limited("route-off", {"enable_mode": "REQUEST", "limit_kbps": 1}, per_route={"limit_kbps": 1}),
    limited("route-without-limit", _BOTH, per_route={"enable_mode": "REQUEST"}, refused=True),
    limited("trailers", _TELLING, get("/a"), answer=_CHUNKS, hcm=_TRAILERS, shows=_SHOWN),
    limited("trailers-fast", {**_TELLING, "limit_kbps": 1000}, get("/a"), answer=_CHUNKS, hcm=_TRAILERS),
    limited(
        "trailers-both",
        {**_TELLING, "enable_mode": "REQUEST_AND_RESPONSE", "response_trailer_prefix": "X-Me"},
        answer=_CHUNKS,
        hcm=_TRAILERS,
        shows=("x-me-bandwidth-response-filter-delay-ms", "x-me-bandwidth-request-delay-ms"),
    ),
    limited("trailers-there", _TELLING, get("/a"), answer=_OWN_TRAILERS, hcm=_TRAILERS, cluster=_UPSTREAM_TRAILERS),
    limited("trailers-nowhere", _TELLING, get("/a"), answer=_LONG),
    limited("interval-too-long", {**_SLOW, "fill_interval": "1.5s"}, refused=True),
    limited("without-limit", {"enable_mode": "RESPONSE"}, get("/a"), stats="", quiet=0.5, differs=known.WITHOUT_LIMIT),
]
