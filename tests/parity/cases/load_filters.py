"""admission_control and adaptive_concurrency, whose measures follow from what came before; cdn_loop."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ..case import Case, Upstream, client, get
from ..grpc_peer import closing
from ..h2_peer import Data, Head

_HTTP = "type.googleapis.com/envoy.extensions.filters.http"
_LOG = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %RESPONSE_FLAGS%\n"
_BAD = "HTTP/1.1 503 Bad\r\ncontent-length: 0\r\n\r\n"


def filtered(name: str, kind: str, config: dict[str, Any], *requests: Any, **more: Any) -> Case:
    more.setdefault("stats", rf"^http\.$case\.{kind.partition('.')[0]}\.")
    return Case(
        name,
        closing(requests),
        filters=json.dumps([{"name": "x", "typed_config": {"@type": f"{_HTTP}.{kind}", **config}}]),
        timing=False,
        quiet=5.0,
        log=_LOG,
        **more,
    )


# The first failure makes all that follow be refused: a share to the power of next to nothing is all of them.
_ALL = {
    "success_criteria": {},
    "aggression": {"default_value": 1e7, "runtime_key": "a"},
    "max_rejection_probability": {"default_value": {"value": 100}, "runtime_key": "m"},
}
_THREE = (get("/1"), get("/2"), get("/3"))


def admitted(name: str, config: dict[str, Any], *requests: Any, answer: str = _BAD, **more: Any) -> Case:
    upstreams = more.pop("upstreams", {"up": Upstream(((answer,),))})
    kind = "admission_control.v3.AdmissionControl"
    return filtered(f"admission-{name}", kind, {**_ALL, **config}, *(requests or _THREE), upstreams=upstreams, **more)


def statuses(*ranges: tuple[int, int]) -> dict[str, Any]:
    listed = [{"start": start, "end": end} for start, end in ranges]
    return {"success_criteria": {"http_criteria": {"http_success_status": listed}}}


def grpc(name: str, status: str, config: dict[str, Any], *, in_head: bool = False) -> Case:
    call = get("/a.B/C", "content-type: application/grpc", "te: trailers", method="POST", body="\0\0\0\0\0")
    kind = ("content-type", "application/grpc")
    if in_head:
        script: tuple[Any, ...] = (Head(200, (kind, ("grpc-status", status)), True),)
    else:
        script = (Head(200, (kind,)), Data(b"\0\0\0\0\0"), Head(None, (("grpc-status", status),), True))
    up = Upstream((script,), mode="h2")
    h2 = "{http: {'@type': HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}"
    return admitted(
        f"grpc-{name}", config, call, call, upstreams={"up": up}, cluster=f"typed_extension_protocol_options: {h2}"
    )


def gradient(**more: Any) -> dict[str, Any]:
    least = {"interval": "3600s", "jitter": {"value": 0}, "min_concurrency": 1, **more.pop("least", {})}
    limits = {"concurrency_update_interval": "3600s", **more.pop("limits", {})}
    config = {"concurrency_limit_params": limits, "min_rtt_calc_params": least, **more}
    return {"gradient_controller_config": config}


def concurrent(name: str, config: dict[str, Any], *, seconds: float = 0.6, **more: Any) -> Case:
    """One request that takes its time, and another meanwhile."""
    slow = Upstream(((seconds, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"),))
    kind = "adaptive_concurrency.v3.AdaptiveConcurrency"
    clients = tuple(
        client(*closing((get(path),)), quiet=5.0, timing=False, start=start)
        for path, start in (("/slow", 0.0), ("/next", seconds / 2))
    )
    more.setdefault("stats", r"^http\.$case\.adaptive_concurrency\.gradient_controller\.(rq_|conc|min_rtt_calc)")
    case = filtered(f"adaptive-{name}", kind, config, get("/"), **more)
    return replace(case, send="", clients=clients, upstreams={"up": slow}, sort_log=True)


_CDN = {"cdn_id": "me.test:1"}


def spaced(*requests: str) -> list[str | float]:
    """With a moment between them: Envoy takes too many local replies at once for a flood."""
    return [part for request in requests for part in (request, 0.02)][:-1]


def looped(name: str, *values: str, **config: Any) -> Case:
    requests = [get("/a", *(f"cdn-loop: {each}" for each in value.split("|"))) for value in values]
    more = {key: config.pop(key) for key in ("refused",) if key in config}
    return filtered(
        f"cdn-loop-{name}", "cdn_loop.v3.CdnLoopConfig", {**_CDN, **config}, *spaced(*(requests or [get("/a")])), **more
    )


CASES = [
    admitted("refused", {}),
    admitted("good", {}, answer="HTTP/1.1 499 X\r\ncontent-length: 0\r\n\r\n"),
    admitted("off", {"enabled": {"default_value": False, "runtime_key": "x"}}),
    admitted("no-share", {"max_rejection_probability": {"default_value": {"value": 0}, "runtime_key": "m"}}),
    admitted("few", {"rps_threshold": {"default_value": 50, "runtime_key": "r"}}),
    admitted("statuses", statuses((400, 500)), answer="HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"),
    admitted("statuses-good", statuses((200, 300), (503, 504))),
    admitted("bad-range", statuses((500, 400)), refused=True),
    admitted("bad-end", statuses((500, 700)), refused=True),
    admitted("bad-grpc", {"success_criteria": {"grpc_criteria": {"grpc_success_status": [17]}}}, refused=True),
    admitted("no-criteria", {"success_criteria": None}, refused=True),
    grpc("good", "0", {}),
    grpc("cancelled", "1", {}),
    grpc("bad", "14", {}),
    grpc("bad-in-head", "13", {}, in_head=True),
    grpc("odd", "x", {}),
    grpc("listed", "14", {"success_criteria": {"grpc_criteria": {"grpc_success_status": [14]}}}),
    concurrent("refused", gradient()),
    concurrent("status", {**gradient(), "concurrency_limit_exceeded_status": {"code": 429}}),
    concurrent("status-none", {**gradient(), "concurrency_limit_exceeded_status": {"code": 302}}),
    concurrent("off", {**gradient(), "enabled": {"default_value": False, "runtime_key": "x"}}),
    concurrent("two", gradient(least={"min_concurrency": 2})),
    concurrent("measured", gradient(least={"request_count": 1})),
    concurrent("fixed", gradient(least={"interval": None, "fixed_value": "0.5s"})),
    concurrent("no-interval", gradient(least={"interval": None}), refused=True),
    concurrent("no-update", gradient(limits={"concurrency_update_interval": None}), refused=True),
    looped("first"),
    looped("others", 'a, b;c=d , [::1]:8 ;e="f,\\"g"', ",, a", "", "me.test:1x"),
    looped("again", "me.test:1", "a, me.test:1;x=y", "a|me.test:1", "me.test"),
    looped("allowed", "me.test:1", "me.test:1, me.test:1", max_allowed_occurrences=1),
    looped("malformed-on", "a b", "a"),
    looped("malformed", "a b", "a;", "a; b", "a;b=", 'a;b="c', "[", "[::1", "a:x", "é"),
    looped("bad-id", cdn_id="a b", refused=True),
    looped("bad-id-list", cdn_id="a,b", refused=True),
]
