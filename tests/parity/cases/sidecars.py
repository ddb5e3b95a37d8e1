"""The listeners of a mesh sidecar, whole: inbound and outbound, with the original destination from a PROXY line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..case import Act, Case, Client, Op, Upstream, client, get
from .access_logs import DURATIONS
from .listeners import proxied

CONFIGS = Path(__file__).parent.parent / "configs"
ERROR = "HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n"
ECHO = Upstream(((Act.ECHO,),), mode="raw")
WEBSOCKET = get("/chat", "connection: Upgrade", "upgrade: websocket", host="app")


def sidecar(name: str, file: str, *clients: Client, **more: Any) -> Case:
    more.setdefault("upstreams", {"up": Upstream(), "up2": Upstream(), "up3": ECHO})
    masks = (*DURATIONS, (r"rq-timeout-ms: 1\d+$", "<left>"), ("up2_port", "up_port"))
    config = (CONFIGS / file).read_text()
    return Case(f"{file.split('.')[0]}-{name}", clients=clients, config=config, masks=masks, sort_log=True, **more)


def to(destination: str, *ops: Op, address: str = "127.0.0.1", **options: Any) -> Client:
    first, *rest = ops
    assert isinstance(first, str)
    return Client((proxied(destination, address=address, source="127.0.0.1") + first, *rest), **options)


def inbound(name: str, *clients: Client, **more: Any) -> list[Case]:
    """With the router alone, and with the policy filters that a control plane puts before it."""
    return [sidecar(name, file, *clients, **more) for file in ("inbound.yaml", "inbound-policies.yaml")]


CASES = [
    *inbound(
        "all",
        to("$up_port", get("/a/../b?x", "x-forwarded-client-cert: By=x", "x-envoy-retry-on: 5xx", host="app")),
        to("$up_port", get("/admin", host="app"), start=0.2),
        to("$up2_port", get("/other-port", host="app"), start=0.4),
        to("$up3_port", "not http\n", raw=True, start=0.6),
        to("$port", get("/self", host="app"), raw=True, start=0.8),
        client(get("/no-proxy-line", host="app"), raw=True, start=1.0),
        to("$up3_port", "", 1.6, "late", raw=True, start=1.2),
    ),
    *inbound(
        "websocket",
        to("$up_port", WEBSOCKET, 0.3, "ping"),
        upstreams={
            "up": Upstream(
                (("HTTP/1.1 101 X\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n", Act.RAW, Act.ECHO),), at="head"
            ),
            "up2": Upstream(),
            "up3": ECHO,
        },
    ),
    sidecar(
        "http",
        "outbound.yaml",
        to("80", get("/a", host="a.default"), address="10.96.0.1"),
        to("80", get("/b", host="b"), address="10.96.0.2", start=0.6),
        to("80", get("/api", "end-user: jason", host="b"), address="10.96.0.2", start=0.9),
        to("80", get("/api", "end-user: other", host="b"), address="10.96.0.2", start=1.2),
        to("80", WEBSOCKET.replace("app", "b"), address="10.96.0.2", start=1.5),
        merge_upstreams=True,
        flat_upstream=True,
    ),
    sidecar(
        "retry",
        "outbound.yaml",
        to("80", get("/api", host="b"), address="10.96.0.1"),
        to("80", get("/a", host="a"), address="10.96.0.1", start=0.3),
        upstreams={"up": Upstream(((ERROR,),)), "up2": Upstream(((ERROR,),)), "up3": ECHO},
        merge_upstreams=True,
        flat_upstream=True,
    ),
    sidecar(
        "tcp",
        "outbound.yaml",
        to("8080", "to the service", raw=True, address="127.1.0.1"),
        to("$up3_port", "passed through", raw=True, start=0.3),
        to("$port", "to itself", raw=True, start=0.6),
        client("no line", raw=True, start=0.9),
        to("8080", "other address", raw=True, address="127.0.0.1", start=1.2),
    ),
    sidecar("unknown-host", "outbound.yaml", to("80", get("/x", host="unknown.test"), address="127.0.0.1")),
]
