"""Access log operators with arguments that few formats have, in text and in JSON."""

from __future__ import annotations

from typing import Any

from ..case import REFUSE, Case, get
from .access_logs import operator

_REQUEST = get("/p/a?x=1&y=2", "x-a: one", "x-a: two", "connection: close")


def one(name: str, *operators: str, **more: Any) -> Case:
    return operator(f"op-{name}", *operators, send=more.pop("send", _REQUEST), quiet=10.0, timing=False, **more)


_MASKS = ("", "(16)", "(0)", "(32)", "(33)", "(MASK_PREFIX_LEN=16)", "(x)")
_SIDES = ("DOWNSTREAM_LOCAL", "DOWNSTREAM_REMOTE", "DOWNSTREAM_DIRECT_REMOTE", "DOWNSTREAM_DIRECT_LOCAL")
_FORWARDED = "{use_remote_address: false, xff_num_trusted_hops: 0}"

_DIGITS = ((r"\d", "9"), (r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun)", "<day>"), (r"[ap]m", "<half>"))

_CERTIFICATES = (
    "By=a;URI=b;DNS=c", 'By=x;Subject="a,b;\\"c;d=e";URI="q\\\\",By=y;URI=second', "uri=low", "URI=", 'URI="open;DNS=x',
    'DNS=a;DNS=b;URI=" s "', "nonsense", ' URI = spaced ;by=z', ",,;URI=late", 'Hash="h";URI=a"b"c', "URI",
)  # fmt: skip

CASES = [
    *(
        one(
            f"xfcc-{number}",
            *(f"XFCC_VALUE({key})" for key in ("uri", "By", "DNS", "subject", "hash")),
            send=get("/", f"x-forwarded-client-cert: {value}", "connection: close"),
            hcm="{forward_client_cert_details: ALWAYS_FORWARD_ONLY}",
        )
        for number, value in enumerate(_CERTIFICATES)
    ),
    one("xfcc-none", "XFCC_VALUE(uri)"),
    one("xfcc-bad-key", "XFCC_VALUE(nothing)", refused=True),
    one("xfcc-no-key", "XFCC_VALUE", refused=True),
    *(
        one(f"mask-{side.lower().replace('_', '-')}", *(f"{side}_ADDRESS_WITHOUT_PORT{mask}" for mask in _MASKS))
        for side in (*_SIDES, "UPSTREAM_REMOTE", "UPSTREAM_LOCAL")
    ),
    *(
        one(
            f"mask-forwarded-{version}",
            *(f"DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT{mask}" for mask in (*_MASKS, "(64)", "(128)")),
            send=get("/", f"x-forwarded-for: {address}", "connection: close"),
            hcm=_FORWARDED,
        )
        for version, address in ((4, "203.0.113.77"), (6, "2001:db8:1:2::77"))
    ),
    one(
        "hosts-attempted",
        *(f"UPSTREAM_HOST{what}_ATTEMPTED" for what in ("S", "_NAMES")),
        "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    ),
    one("hosts-attempted-in-vain", "UPSTREAM_HOSTS_ATTEMPTED", "UPSTREAM_HOST", upstreams=REFUSE),
    one("hostname-with-length", "HOSTNAME:3", refused=True),
    one("times", *(f"START_TIME({each})" for each in ("%Ec|%EY|%Oy", "%k|%l|%P", "%:z|%::z")), masks=_DIGITS),
    one("mask-with-length", "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8):3", refused=True),
    one("retransmitted", "BYTES_RETRANSMITTED", "PACKETS_RETRANSMITTED", "ROUNDTRIP_DURATION"),
    Case(
        "log-op-json",
        _REQUEST,
        quiet=10.0,
        timing=False,
        log="yaml: {log_format: {json_format: {a: '%BYTES_RETRANSMITTED%', b: '%ROUNDTRIP_DURATION%', "
        "c: '%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%', d: 'x%UPSTREAM_HOST%%RESP(none)%'}}}",
    ),
]
