"""Hosts that fail in the middle of something, under each kind of policy: what clients get, and what is counted."""

from __future__ import annotations

from ..case import OK, Act, Case, Op, Upstream, get
from ..h2_peer import Data, Goaway, Head, Reset

_HEAD = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"
_CHUNK = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
_LATER = 1.2
_HTTP1: dict[str, tuple[Op, ...]] = {
    "closes": (Act.CLOSE,),
    "resets": (Act.RESET,),
    "is-slow": (_LATER, OK),
    "half-a-head": ("HTTP/1.1 200 OK\r\nfoo: b", 0.05, Act.CLOSE),
    "head-and-silence": ("HTTP/1.1 200 OK\r\nfoo: b", _LATER, Act.CLOSE),
    "head-alone": (_HEAD, 0.05, Act.RESET),
    "half-a-body": (_HEAD + "abc", 0.05, Act.CLOSE),
    "body-and-silence": (_HEAD + "abc", _LATER, Act.CLOSE),
    "half-the-chunks": (_CHUNK, 0.05, Act.CLOSE),
    "continue-and-silence": ("HTTP/1.1 100 Continue\r\n\r\n", _LATER, OK),
    "continue-and-close": ("HTTP/1.1 100 Continue\r\n\r\n", 0.05, Act.CLOSE),
    "half-closes": (OK, Act.HALF_CLOSE),
    "too-much": (OK + "and more",),
    "error-cut": ("HTTP/1.1 503 X\r\ncontent-length: 9\r\n\r\nab", 0.05, Act.RESET),
}
_ANSWER = (Head(), Data(b"ok", end=True))
_HTTP2: dict[str, tuple[object, ...]] = {
    "resets": (Reset(8),),
    "refuses": (Reset(7),),
    "goes": (Goaway(last=-2), 0.05, Act.CLOSE),
    "closes": (Act.CLOSE,),
    "is-slow": (_LATER, *_ANSWER),
    "head-alone": (Head(), 0.05, Reset(2)),
    "half-a-body": (Head(), Data(b"abc"), 0.05, Reset(2)),
    "body-and-close": (Head(), Data(b"abc"), 0.05, Act.CLOSE),
    "body-and-silence": (Head(), Data(b"abc"), _LATER),
    "error-cut": (Head(503), Data(b"ab"), 0.05, Reset(2)),
}
_SOON = "num_retries: 2, retry_back_off: {base_interval: 0.01s}"
_POLICIES = {
    "alone": "",
    "retried": f"retry_policy: {{retry_on: '5xx,reset,connect-failure', {_SOON}}}",
    "per-try": f"retry_policy: {{retry_on: 5xx, per_try_timeout: 0.4s, {_SOON}}}",
    "timeout": "timeout: 0.7s",
    "hedged": "hedge_policy: {hedge_on_per_try_timeout: true}, "
    f"retry_policy: {{retry_on: 5xx, per_try_timeout: 0.3s, {_SOON}}}",
}
_EJECTS = "outlier_detection: {consecutive_5xx: 1, max_ejection_percent: 100, base_ejection_time: 100s, interval: 100s}"
_COUNTED = (
    r"^cluster\.$case\.up\.(upstream_rq_(total|retry|timeout|per_try|rx_reset|tx_reset|completed|\d)"
    r"|upstream_cx_close_notify|outlier_detection\.ejections_(enforced_total|active)$"
)
_HTTP1_COUNTED = _COUNTED + r"|upstream_cx_protocol_error)"
# Envoy counts an error where a connection of HTTP/2 ends with its last request (docs/differences.md).
_HTTP2_COUNTED = _COUNTED + ")"
_LEFT = ((r"(x-envoy-expected-rq-timeout-ms): \d+", r"\1: <ms>"),)


def _fault(name: str, policy: str, upstream: Upstream, counted: str) -> Case:
    return Case(
        name,
        get(),
        upstreams={"up": upstream},
        routes=f"- {{match: {{prefix: /}}, route: {{cluster: $up, {_POLICIES[policy]}}}}}",
        cluster=f"{{{_EJECTS}}}",
        stats=counted,
        masks=_LEFT,
        timing=False,
        quiet=2.5,
        flat_upstream=True,
    )


CASES = [
    *(
        _fault(f"fault-{fault}-{policy}", policy, Upstream((script, (OK,))), _HTTP1_COUNTED)
        for fault, script in _HTTP1.items()
        for policy in _POLICIES
    ),
    *(
        _fault(
            f"h2-fault-{fault}-{policy}",
            policy,
            Upstream((script, _ANSWER), mode="h2", cluster="http2_protocol_options: {}"),
            _HTTP2_COUNTED,
        )
        for fault, script in _HTTP2.items()
        for policy in ("alone", "retried", "per-try", "timeout")
    ),
]
