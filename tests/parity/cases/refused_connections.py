"""Connections that the listener's filters end, or that no chain takes: what its log and its statistics say of them."""

from __future__ import annotations

from ..case import Act, Case, Client, Op

_LOG = (
    'access_log: [{file_log: {path: $dir/$case.log, log_format: {text_format_source: {inline_string: "'
    "%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %CONNECTION_TERMINATION_DETAILS% %BYTES_RECEIVED% "
    '%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %PROTOCOL% %RESPONSE_CODE%\\n"}}}}]'
)
_FROM = "PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n"


def case(name: str, *ops: Op, chains: str = "- filters: [{hcm: {}}]", shows: str = "") -> Case:
    return Case(
        f"refused-{name}",
        clients=(Client(ops, raw=True, timing=False, quiet=0.3),),
        chains=chains,
        listener=f"listener_filters_timeout: 0.4s\n{_LOG}",
        listener_filters="- proxy_protocol: {}\n- tls_inspector: {}",
        stats=r"^listener\.127\.0\.0\.1_$port\.(no_filter_chain|downstream_(pre_cx|listener_filter|cx_total))",
        masks=((r"127\.0\.0\.1:\d+", "<address>"),),
        shows=shows,
        timing=False,
    )


CASES = [
    case("not-proxied", "hello, this is no PROXY header\r\n", 0.2),
    case("silent", 0.8, shows="pre_cx_timeout: 1"),
    case("half-a-header", "PROXY TC", 0.8, shows="pre_cx_timeout: 1"),
    case("left-at-once", 0.05, Act.CLOSE, shows="remote_close: 1"),
    case("left-behind-the-header", _FROM, 0.05, Act.CLOSE, shows="192.0.2.1:1000"),
    case("silent-behind-the-header", _FROM, "\x16\x03", 0.8, shows="192.0.2.1:1000"),
    case("hello-too-large", _FROM, "\x16\x03\x01\x40\x00\x01\x00\x40\x00" + "x" * 16400, 0.2, shows="192.0.2.1:1000"),
    case(
        "no-chain",
        _FROM,
        "GET / HTTP/1.1\r\n\r\n",
        0.2,
        chains="- filter_chain_match: {destination_port: 1}\n  filters: [{hcm: {}}]",
        shows="NR",
    ),
]
