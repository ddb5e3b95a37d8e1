"""Access log operators with arguments that few formats have, in text and in JSON."""

from __future__ import annotations

from typing import Any

from ..case import Case, get
from .access_logs import operator

_REQUEST = get("/p/a?x=1&y=2", "x-a: one", "x-a: two", "connection: close")


def one(name: str, *operators: str, **more: Any) -> Case:
    return operator(f"op-{name}", *operators, send=more.pop("send", _REQUEST), quiet=10.0, timing=False, **more)


_MASKS = ("", "(16)", "(0)", "(32)", "(33)", "(MASK_PREFIX_LEN=16)", "(x)")
_SIDES = ("DOWNSTREAM_LOCAL", "DOWNSTREAM_REMOTE", "DOWNSTREAM_DIRECT_REMOTE", "DOWNSTREAM_DIRECT_LOCAL")
_FORWARDED = "{use_remote_address: false, xff_num_trusted_hops: 0}"

CASES = [
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
