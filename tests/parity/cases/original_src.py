"""`original_src`: upstreams are reached from the client's own address, each client on connections of its own."""

from __future__ import annotations

from ..case import Case, Client, Op, Upstream, Wait, get

SRC = (
    "{name: src, typed_config: {'@type': "
    "type.googleapis.com/envoy.extensions.filters.listener.original_src.v3.OriginalSrc%s}}"
)
LISTENS = f"[{{proxy_protocol: {{}}}}, {SRC % ', mark: 123'}]"
LOG = 'log_format: {text_format_source: {inline_string: "%s\\n"}}'
FROM = LOG % "%REQ(:PATH)% %UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT% %RESPONSE_CODE%"


def of(ip: str, *paths: str, start: float = 0.0) -> Client:
    """A client that the PROXY protocol says to be at `ip`."""
    version = "TCP6" if ":" in ip else "TCP4"
    here = "::1" if ":" in ip else "127.0.0.1"
    ops: list[Op] = [f"PROXY {version} {ip} {here} 1000 80\r\n"]
    for number, path in enumerate(paths, 1):
        ops += [get(path), Wait("HTTP/1.1 ", number)]
    return Client(tuple(ops), start=start, timing=False)


CASES = [
    Case(
        "original-src",
        clients=(of("127.0.0.7", "/a", "/b"), of("127.0.0.8", "/c", start=0.4), of("127.0.0.7", "/d", start=0.8)),
        listener_filters=LISTENS,
        log=FROM,
        stats=r"^cluster\.$up\.upstream_cx_total$",
        shows=("/a 127.0.0.7 200", "/c 127.0.0.8 200", "upstream_cx_total: 2"),
    ),
    Case(
        "original-src-tcp",
        clients=(Client(("PROXY TCP4 127.0.0.9 127.0.0.1 1000 80\r\n", get("/t"), Wait("HTTP/1.1 ")), timing=False),),
        listener_filters=LISTENS,
        network="[{tcp_proxy: {stat_prefix: $case, cluster: $up, access_log: [{file_log: {path: $dir/$case.log, "
        'log_format: {text_format_source: {inline_string: "%UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT%\\n"}}}}]}}]',
        upstreams={"up": Upstream()},
        shows="127.0.0.9",
    ),
    Case(
        "original-src-address-of-nobody",
        clients=(of("203.0.113.7", "/a"),),
        listener_filters=LISTENS,
        cluster="connect_timeout: 0.3s",
        log=FROM,
        shows="/a - 503",
    ),
]
