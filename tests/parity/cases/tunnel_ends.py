"""CONNECT and upgrades whose client says nothing more with its head, and hosts that answer them in odd ways."""

from __future__ import annotations

from typing import Any

from ..case import REFUSE, Act, Case, Op, Upstream, Wait, answer, client, get, raw
from ..h2_peer import OK, Data, H2Op, Head, settings
from ..h2_wire import data, head
from .h2_downstream import CONNECT, PSEUDO, TUNNELS, connect, h2
from .h2_upstream import EXPLICIT

ASK = ((":method", "CONNECT"), (":authority", "h.test:80"))
EXTENDED = ((":method", "CONNECT"), (":protocol", "websocket"), *PSEUDO[1:])
WEBSOCKETS = "{http2_protocol_options: {allow_connect: true}, upgrade_configs: [{upgrade_type: websocket}]}"
PASSED_ON = "- {match: {connect_matcher: {}}, route: {cluster: $up}}"
STATS = (
    r"^cluster\.$case\.up\.upstream_(cx_total|rq_(total|completed|pending_total|rx_reset|tx_reset|cancelled|\d\d\d))"
)
SWITCH = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
NO = "HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno"
UPGRADE = get("/ws", "connection: Upgrade", "upgrade: websocket", "sec-websocket-key: x")


def ended(name: str, fields: tuple[tuple[str, str], ...] = ASK, **options: Any) -> Case:
    """The client's only frame of the stream is its head."""
    options.setdefault("hcm", TUNNELS)
    return Case(f"h2-head-only-{name}", clients=h2(head(1, *fields, end=True)), stats=STATS, **options)


def host(*ops: Op) -> dict[str, Upstream]:
    return answer(Act.RAW, *ops, at="head")


def host2(*ops: H2Op) -> dict[str, Upstream]:
    return {"up": Upstream((ops,), mode="h2", at="head", first=(settings(connect_protocol=1),))}


CASES = [
    ended("connect", routes=CONNECT, upstreams=raw("hello", Act.ECHO)),
    ended("connect-refused", routes=CONNECT, upstreams=REFUSE),
    ended("connect-no-route"),
    ended("connect-http1", routes=PASSED_ON, upstreams=host("HTTP/1.1 200 OK\r\n\r\n", "hello", Act.ECHO)),
    ended("connect-http1-denied", routes=PASSED_ON, upstreams=answer(NO, at="head")),
    ended("connect-http2", routes=PASSED_ON, cluster=EXPLICIT, upstreams={"up": Upstream((OK,), mode="h2", at="head")}),
    ended("websocket", EXTENDED, hcm=WEBSOCKETS, upstreams=host(SWITCH, "hello", Act.ECHO)),
    ended("websocket-denied", EXTENDED, hcm=WEBSOCKETS, upstreams=answer(NO, at="head")),
    *(
        Case(
            f"h2-connect-answer-{name}",
            clients=connect(0.1, data(1, b"ping"), 0.2),
            routes=PASSED_ON,
            hcm=TUNNELS,
            upstreams=host(f"HTTP/1.1 {status} OK\r\n{line}\r\n\r\n", "hello", Act.ECHO),
            stats=STATS,
        )
        for name, status, line in (
            ("200-length", 200, "content-length: 5"),
            ("200-chunked", 200, "transfer-encoding: chunked"),
            ("204-length", 204, "content-length: 5"),
            ("201-length", 201, "content-length: 5"),
            ("302-length", 302, "content-length: 5"),
        )
    ),
    *(
        Case(
            f"h2-connect-http2-answer-{status}",
            clients=connect(Wait("hello"), data(1, b"ping"), 0.2),
            routes=PASSED_ON,
            hcm=TUNNELS,
            cluster=EXPLICIT,
            upstreams=host2(Head(status, (("content-length", "2"),)), Data(b"hello"), 0.3, Data(b"x", True)),
            stats=STATS,
        )
        for status in (200, 201)
    ),
    Case(
        "h1-websocket-http2-answer-length",
        (UPGRADE, 0.2, "ping", 0.2),
        hcm="upgrade_configs: [{upgrade_type: websocket}]",
        cluster=EXPLICIT,
        upstreams=host2(Head(200, (("content-length", "2"),)), Data(b"hello"), 0.3, Data(b"x", True)),
        stats=STATS,
    ),
    Case("h1-websocket-answer-200", UPGRADE, hcm="upgrade_configs: [{upgrade_type: websocket}]", stats=STATS),
    Case(
        "h1-connect-answer-200-length",
        clients=(client("CONNECT h.test:80 HTTP/1.1\r\nhost: h.test:80\r\n\r\n", 0.1, "ping", 0.2),),
        routes=PASSED_ON,
        hcm=TUNNELS,
        upstreams=host("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "hello", Act.ECHO),
    ),
]
