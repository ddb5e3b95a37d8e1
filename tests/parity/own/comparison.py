"""From a bootstrap of one's own to a case: what is sent through it, and what is compared."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from tests.certificates import folder

from ..case import Case, Client, get
from ..h2_wire import h2get, hello
from .adapt import Adapted, Entrance, adapt
from .requests import Request, of_route_table

STATISTICS = (
    r"^(cluster\..*\.(upstream_rq_(\d.*|total|retry.*|timeout)|ext_authz.*|ratelimit.*|lb_.*)"
    r"|http\.(?!admin|async-client)(?!.*\.tracing).*(downstream_rq.*|no_.*|rq_.*|rbac.*|fault.*|jwt.*|cors.*|csrf.*|ext_authz.*"
    r"|ratelimit.*)|vhost\..*)$"
)
APART_S = 0.01
MOST = 300
"""Requests per filter chain."""


def case_of(name: str, config: Mapping[str, Any], most: int = MOST) -> Case:
    """The comparison that a bootstrap asks for."""
    adapted = adapt(config)
    return Case(
        name,
        clients=tuple(_clients(adapted, most)),
        upstreams=adapted.upstreams,
        ports=len(adapted.ports),
        config=json.dumps(adapted.config),
        timing=False,
        flat_upstream=True,
        merge_upstreams=True,
        sort_log=True,
        stats=STATISTICS,
    )


def _clients(adapted: Adapted, most: int) -> Iterator[Client]:
    number = 0
    for entrance in adapted.entrances:
        for request in list(of_route_table(entrance.manager.get("route_config") or {}))[:most]:
            for h2 in versions(entrance, request):
                number += 1
                yield client_of(entrance, request, number, h2=h2)


def versions(entrance: Entrance, request: Request) -> tuple[bool, ...]:
    """Over which versions of HTTP a request is sent: whether it is HTTP/2."""
    if request.method == "CONNECT":
        return (False,)
    return {"HTTP1": (False,), "HTTP2": (True,)}.get(str(entrance.manager.get("codec_type", "AUTO")), (False, True))


def client_of(entrance: Entrance, request: Request, number: int, *, h2: bool) -> Client:
    lines = [f"{name}: {value}" for name, value in (*request.headers, ("x-number", str(number)))]
    if h2:
        sent: str | bytes = hello() + h2get(
            1, request.target, *lines, method=request.method, host=request.host, body=request.body.encode()
        )
    else:
        if request.method != "CONNECT":
            lines.append("connection: close")
        sent = get(request.target, *lines, host=request.host, method=request.method, body=request.body)
    tls = partial(folder().client_context, alpn=("h2",) if h2 else ("http/1.1",)) if entrance.tls else None
    return Client(
        (sent,),
        to=entrance.to,
        start=number * APART_S,
        quiet=0.8 if h2 else 1.5,  # a second is what a delayed close takes
        timing=False,
        h2=h2,
        tls=tls,
        server_name=entrance.server_name if entrance.tls else "",
    )
