"""Formats against what Envoy 1.40 printed for the same request, in text and in JSON, and what it refuses."""

from __future__ import annotations

import json
from typing import Any

import pytest

from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.plugin.stream_info import ConnectionInfo, StreamInfo, TlsInfo, split_address
from meshproxy.telemetry.attribute_operators import NUMBERS, OPTIONAL_NUMBERS, PRESENT_TEXTS, TEXTS
from meshproxy.telemetry.format_syntax import FormatError
from meshproxy.telemetry.formatter import compile_header, compile_json, compile_text
from meshproxy.telemetry.operand import FormatContext
from meshproxy.telemetry.parameter_operators import BUILDERS

CONTEXT = FormatContext("vm", {"MYENV": "envval"}, lambda: 1000.5, lambda: 1795443512.0, lambda: "some-uuid")

METADATA = {
    "dns": {
        "s": "str", "n": 1.0, "f": 1.5, "b": True, "l": [1.0, "a", None], "o": {"z": 1.0, "a": 'q"q'},
        "nul": None, "e": "", "sl": "a/bé",
    }
}  # fmt: skip


@pytest.fixture
def info() -> StreamInfo:
    """The stream of the request that Envoy was sent."""
    info = StreamInfo()
    info.connection = ConnectionInfo()
    info.connection.connection_id = 1
    info.connection.local_address = info.connection.direct_local_address = "127.0.0.1:39881"
    info.connection.remote_address = info.connection.direct_remote_address = "127.0.0.1:54400"
    info.request = RequestHeaders(
        "GET",
        "/p/a?x=1&y=2&enc=a%20b+c",
        "h.test",
        "http",
        [("x-h", 'v\xe9"q'), ("x-dup", "1"), ("x-dup", "2"), ("x-emp", ""), ("user-agent", "ua")],
    )
    info.response = ResponseHeaders(200, [("x-up", 'q"v\\'), ("x-dup", "1"), ("x-dup", "2")])
    info.protocol, info.response_code, info.details, info.attempt_count = "HTTP/1.1", 200, "via_upstream", 1
    info.start_wall, info.start, info.end = 1795443511.812309, 1000.0, 1000.002257
    info.request_complete, info.first_upstream_tx, info.last_upstream_tx = 1000.0001, 1000.0002, 1000.0003
    info.first_upstream_rx, info.last_upstream_rx = 1000.0012, 1000.0013
    info.first_downstream_tx, info.last_downstream_tx = 1000.0014, 1000.002257
    info.bytes_sent, info.route_name, info.virtual_cluster_name, info.pool_ready = 5, "rname", "vcl", 0.0003
    info.upstream_host, info.upstream_host_name, info.upstream_cluster = "127.0.0.1:39882", "hn", "up|80"
    info.upstream_cluster_alt, info.upstream_local_address, info.upstream_connection_id = "up_alt", "127.0.0.1:33378", 2
    info.upstream_remote_address, info.upstream_protocol = "127.0.0.1:39882", "HTTP/1.1"
    info.dynamic_metadata = METADATA
    info.upstream_cluster_metadata = {"cns": {"k": 5.0}}
    info.set_filter_state("my.key", 'fs-"v')
    return info


def text(format_string: str, info: StreamInfo, omit: bool = False) -> str:
    return compile_text(format_string, CONTEXT, omit).render(info)


def value(format_string: str, info: StreamInfo) -> Any:
    return json.loads(compile_json({"k": format_string}, CONTEXT).render(info))["k"]


# (format, text, JSON value); all were looked up in the real program.
OBSERVED = [
    ("%REQ(X-H)%", 'v\xe9"q', 'v\xe9"q'),
    ("%REQ(x-none)%", "-", None),
    ("%REQ(x-none?X-H)%", 'v\xe9"q', 'v\xe9"q'),
    ("%REQ(x-none?:PATH):4%", "/p/a", "/p/a"),
    ("%REQ(X-H):0%", "", ""),
    ("%REQ(:SCHEME)%", "http", "http"),
    ("%REQ(host)%", "h.test", "h.test"),
    ("%REQ(:AUTHORITY?x)%", "h.test", "h.test"),
    ("%REQ(x-dup)%", "1", "1"),
    ("%REQ(x-emp)%", "", ""),
    ("%REQ(x-emp?x-h)%", "", ""),
    ("%REQ(?x-dup)%", "1", "1"),
    ("%RESP(x-up)%", 'q"v\\', 'q"v\\'),
    ("%RESP(:STATUS)%", "200", "200"),
    ("%TRAILER(x)%", "-", None),
    ("%REQUEST_HEADER(x-emp)%", "", ""),
    ("%STREAM_INFO_REQ(x-dup)%", "1", "1"),
    ("%PATH%", "/p/a?x=1&y=2&enc=a%20b+c", "/p/a?x=1&y=2&enc=a%20b+c"),
    ("%PATH(NQ)%", "/p/a", "/p/a"),
    ("%PATH(NQ:ORIG)%", "-", None),
    ("%PATH(WQ:ORIG_OR_PATH):5%", "/p/a?", "/p/a?"),
    ("%QUERY_PARAM(y)%", "2", "2"),
    ("%QUERY_PARAM(none)%", "-", None),
    ("%QUERY_PARAM(enc)%", "a b+c", "a b+c"),
    ("%QUERY_PARAMS%", "x=1&y=2&enc=a%20b+c", "x=1&y=2&enc=a%20b+c"),
    ("%START_TIME%", "2026-11-23T14:18:31.812Z", "2026-11-23T14:18:31.812Z"),
    ("%EMIT_TIME(%s)%", "1795443512", "1795443512"),
    ("%COMMON_DURATION(DS_RX_BEG:DS_RX_END:ms)%", "0", 0),
    ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%", "2257", 2257),
    ("%COMMON_DURATION(DS_RX_BEG:DS_TX_END)%", "2", 2),
    ("%COMMON_DURATION(US_HS_END:US_RX_END:us)%", "-", None),
    ("%COMMON_DURATION(DS_TX_BEG:DS_RX_BEG:ms)%", "-", None),
    ("%COMMON_DURATION(foo:DS_RX_BEG:ms)%", "-", None),
    ("%DYNAMIC_METADATA(dns:s)%", "str", "str"),
    ("%DYNAMIC_METADATA(dns:n)%", "1", 1),
    ("%DYNAMIC_METADATA(dns:b)%", "true", True),
    ("%DYNAMIC_METADATA(dns:l)%", '[1,"a",null]', [1, "a", None]),
    ("%DYNAMIC_METADATA(dns:o)%", '{"a":"q\\"q","z":1}', {"a": 'q"q', "z": 1}),
    ("%DYNAMIC_METADATA(dns:o:a)%", 'q"q', 'q"q'),
    ("%DYNAMIC_METADATA(dns:nul)%", "-", None),
    ("%DYNAMIC_METADATA(dns:e)%", "", ""),
    ("%DYNAMIC_METADATA(dns:sl)%", "a/b\xc3\xa9", "a/b\xc3\xa9"),
    ("%DYNAMIC_METADATA(dns:o):5%", '{"a":', {"a": 'q"q', "z": 1}),
    ("%DYNAMIC_METADATA(dns:s):2%", "st", "st"),
    ("%DYNAMIC_METADATA(dns:n):0%", "", 1),
    ("%DYNAMIC_METADATA(none:a)%", "-", None),
    ("%CLUSTER_METADATA(cns:k)%", "5", 5),
    ("%METADATA(CLUSTER:cns)%", '{"k":5}', {"k": 5}),
    ("%METADATA(LISTENER:x)%", "-", None),
    ("%FILTER_STATE(my.key)%", '"fs-\\"v"', 'fs-"v'),
    ("%FILTER_STATE(my.key:PLAIN)%", 'fs-"v', 'fs-"v'),
    ("%FILTER_STATE(my.key:PLAIN):3%", "fs-", "fs-"),
    ("%FILTER_STATE(my.key:FIELD:x)%", "-", None),
    ("%FILTER_STATE(none)%", "-", None),
    ("%ENVIRONMENT(MYENV):3%", "env", "env"),
    ("%ENVIRONMENT(NOTSET)%", "-", "-"),
    ("%GRPC_STATUS%", "-", None),
    ("%GRPC_STATUS_NUMBER%", "-", None),
    ("%REQUESTED_SERVER_NAME%", "-", None),
    ("%REQUESTED_SERVER_NAME(SNI_FIRST:ORIG)%", "-", None),
    ("%REQUESTED_SERVER_NAME(HOST_FIRST)%", "h.test", "h.test"),
    ("%TRACE_ID%", "-", None),
    ("%LOCAL_REPLY_BODY%", "", ""),
    ("%CUSTOM_FLAGS%", "", ""),
    ("%RESPONSE_FLAGS%", "-", "-"),
    ("%RESPONSE_CODE%", "200", 200),
    ("%RESPONSE_CODE_DETAILS%", "via_upstream", "via_upstream"),
    ("%CONNECTION_TERMINATION_DETAILS%", "-", None),
    ("%DURATION%", "2", 2),
    ("%RESPONSE_DURATION%", "1", 1),
    ("%UPSTREAM_CLUSTER%", "up_alt", "up_alt"),
    ("%UPSTREAM_CLUSTER_RAW%", "up|80", "up|80"),
    ("%UPSTREAM_HOST_NAME_WITHOUT_PORT%", "hn", "hn"),
    ("%UPSTREAM_LOCAL_PORT%", "33378", 33378),
    ("%UPSTREAM_CONNECTION_POOL_READY_DURATION%", "0", 0),
    ("%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", "127.0.0.1", "127.0.0.1"),
    ("%DOWNSTREAM_DIRECT_REMOTE_PORT%", "54400", 54400),
    ("%DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID%", "", ""),
    ("%HOSTNAME%", "vm", "vm"),
    ("%UNIQUE_ID%", "some-uuid", "some-uuid"),
    ("%%", "%", "%"),
    ("100%%-%REQ(x-dup)%%%", "100%-1%", "100%-1%"),
    ("%ROUTE_NAME%%REQ(none)%", "rname-", "rname-"),
    ('%COALESCE({"operators": ["TRACE_ID", {"command": "REQ", "param": ":path", "max_length": 2}]})%', "/p", "/p"),
]


@pytest.mark.parametrize(("format_string", "as_text", "as_json"), OBSERVED)
def test_as_observed(info: StreamInfo, format_string: str, as_text: str, as_json: Any) -> None:
    assert text(f"[{format_string}]", info) == f"[{as_text}]"
    assert text(format_string, info) == as_text
    found = value(format_string, info)
    assert found == as_json
    assert type(found) is type(as_json)


def test_every_operator_prints_something_for_a_stream_that_knows_nothing() -> None:
    """A connection that sent nothing is logged too: no operator may fail on it."""
    parameters = {"REQ": "(a)", "RESP": "(a)", "TRAILER": "(a)", "FILTER_STATE": "(a)", "COMMON_DURATION": "(a:b)"}
    bare = [*TEXTS, *NUMBERS, *OPTIONAL_NUMBERS, *PRESENT_TEXTS]
    for name in [*bare, *BUILDERS]:
        argument = parameters.get(name, "") if name in bare or name in parameters else ""
        if not argument and name in BUILDERS:
            argument = {"METADATA": "(ROUTE:a)", "XFCC_VALUE": "(uri)"}.get(
                name, "(a)" if _needs_parameter(name) else ""
            )
        format_string = f"%{name}{argument}%"
        assert text(format_string, StreamInfo()) is not None
        value(format_string, StreamInfo())
        compile_json({"k": format_string}, CONTEXT, True).render(StreamInfo())


def _needs_parameter(name: str) -> bool:
    try:
        compile_text(f"%{name}%", CONTEXT)
    except FormatError:
        return True
    return False


def test_an_unread_request_prints_dashes() -> None:
    line = '"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%" %RESPONSE_CODE% %RESPONSE_FLAGS%'
    assert text(line, StreamInfo()) == '"- - -" 0 -'


def test_original_path_wins(info: StreamInfo) -> None:
    assert info.request is not None
    info.request["x-envoy-original-path"] = "/orig?o=1"
    assert text("%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PATH(NQ)% %PATH(WQ:PATH)%", info).startswith(
        "/orig?o=1 /orig /p/a?"
    )


def test_flags_in_the_order_they_were_set(info: StreamInfo) -> None:
    for flag in ("URX", "UF", "URX"):
        info.add_flag(flag)
    long = "UpstreamRetryLimitExceeded,UpstreamConnectionFailure"
    assert text("%RESPONSE_FLAGS%|%RESPONSE_FLAGS_LONG%", info) == f"URX,UF|{long}"


def test_details_hold_no_spaces(info: StreamInfo) -> None:
    info.details = "a b  c"
    info.upstream_transport_failure_reason = "TLS error"
    assert text("%RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%", info) == "a_b__c TLS_error"
    assert text("%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%", info) == "a b  c"


def test_duration_of_a_stream_that_goes_on_is_up_to_now(info: StreamInfo) -> None:
    info.end = 0.0
    assert text("%DURATION%", info) == "500"


def test_client_address_of_the_stream_goes_before_the_connections(info: StreamInfo) -> None:
    info.remote_address = "[2001:db8::1]:0"
    line = "%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% %DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"
    assert text(line, info) == "[2001:db8::1]:0 2001:db8::1 127.0.0.1:54400"


@pytest.mark.parametrize(
    ("address", "parts"),
    [("1.2.3.4:5", ("1.2.3.4", 5)), ("[::1]:80", ("::1", 80)), ("/run/x.sock", ("/run/x.sock", 0)), ("", ("", 0))],
)
def test_split_address(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts


def test_facts_of_tls(info: StreamInfo) -> None:
    info.connection.tls = TlsInfo()
    info.connection.tls.peer_uri_sans = ("spiffe://a", "spiffe://b")
    info.connection.tls.peer_not_before = 1795443511.0
    line = "%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_PEER_CERT_V_START% %DOWNSTREAM_PEER_CERT_V_END% %UPSTREAM_TLS_CIPHER%"
    assert text(line, info) == "spiffe://a,spiffe://b 2026-11-23T14:18:31.000Z - -"
    assert text("%DOWNSTREAM_PEER_CERT_V_START(%Y)%", info) == "2026"


@pytest.mark.parametrize(
    ("status", "code", "texts"),
    [
        ("5", 200, "NotFound NOT_FOUND 5 5"),
        ("77", 200, "77 77 77 77"),
        ("x", 200, "-1 -1 -1 -1"),
        (None, 503, "Unavailable UNAVAILABLE 14 14"),
        (None, 200, "Unknown UNKNOWN 2 2"),
    ],
)
def test_grpc_status(info: StreamInfo, status: str | None, code: int, texts: str) -> None:
    assert info.request is not None
    info.request["content-type"] = "application/grpc"
    info.response_code = code
    if status is not None:
        info.response_trailers = Headers([("grpc-status", status)])
    line = "%GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%"
    assert text(line, info) == texts
    assert isinstance(value("%GRPC_STATUS_NUMBER%", info), int)


def test_header_sizes(info: StreamInfo) -> None:
    info.request = RequestHeaders("GET", "/a", "h", "http", [("ab", "cd")])
    info.response = ResponseHeaders(200, [("ab", "cde")])
    assert text("%REQUEST_HEADERS_BYTES% %RESPONSE_HEADERS_BYTES% %RESPONSE_TRAILERS_BYTES%", info) == (
        f"{10 + 7 + 11 + 11 + 4} {10 + 5} 0"
    )


def test_omitted_values_leave_nothing_but_keep_what_is_never_absent(info: StreamInfo) -> None:
    assert text("[%REQ(none)%|%TRACE_ID%|%RESPONSE_FLAGS%|%ENVIRONMENT(NOTSET)%|%REQ(x-emp)%]", info, omit=True) == (
        "[||-|-|]"
    )


def test_json_layout(info: StreamInfo) -> None:
    info.request = RequestHeaders("GET", "/", "h", "http", [("x-h", 'a\xc3\xa9"<>/\\'), ("x-t", "a\tb")])
    template = {
        "a": "%REQ(x-h)%", "b": "x%REQ(x-h)%y", "c": "%REQ(x-t)%", "z": 1, "t": True, "nul": None,
        "l": ["%PROTOCOL%", 1.0, "%REQ(none)%", {"k": "%REQ(none)%"}],
        "o": {"b": "%RESPONSE_CODE%", "a": "%REQ(none)%", "e": {}}, "em": {}, "Q": 'q"k', 'k"é': "é/<>",
        "neg": -3, "": "empty", "mb": "%ROUTE_NAME%%REQ(none)%", "oo": {"x": "%REQ(none)%"}, "em2": ["%REQ(none)%"],
    }  # fmt: skip
    assert compile_json(template, CONTEXT).render(info) == (
        '{"":"empty","Q":"q\\"k","a":"a\xc3\xa9\\"<>/\\\\","b":"xa\xc3\xa9\\"<>/\\\\y","c":"a\\tb","em":{},"em2":[null],'
        '"k\\"\xc3\xa9":"\xc3\xa9/<>","l":["HTTP/1.1",1,null,{"k":null}],"mb":"rname-","neg":-3,"nul":null,'
        '"o":{"a":null,"b":200,"e":{}},"oo":{"x":null},"t":true,"z":1}\n'
    )
    assert compile_json(template, CONTEXT, omit_empty_values=True).render(info) == (
        '{"":"empty","Q":"q\\"k","a":"a\xc3\xa9\\"<>/\\\\","b":"xa\xc3\xa9\\"<>/\\\\y","c":"a\\tb","em2":[],'
        '"k\\"\xc3\xa9":"\xc3\xa9/<>","l":["HTTP/1.1",1],"mb":"rname","neg":-3,"o":{"b":200},"t":true,"z":1}\n'
    )


def test_json_of_bytes_that_are_not_utf8(info: StreamInfo) -> None:
    assert info.request is not None
    info.request["x-h"] = 'a\xe9"/\\'
    assert compile_json({"a": "%REQ(x-h)%"}, CONTEXT).render(info) == '{"a":"a\\u00e9\\u0022/\\u005c"}\n'


def test_a_format_without_operators_is_a_constant() -> None:
    assert compile_text("100%% é", CONTEXT).constant == "100% \xc3\xa9"
    assert compile_text("%HOSTNAME%", CONTEXT).constant == "vm"
    assert compile_text("%PROTOCOL%", CONTEXT).constant is None


def test_constants_are_never_read_as_python(info: StreamInfo) -> None:
    hostile = "'\"\\{info}{{1}}\n%REQ(x-dup)%')(__import__"
    assert text(hostile, info) == "'\"\\{info}{{1}}\n1')(__import__"
    assert text("%DYNAMIC_METADATA(a'+\"{info}\\:b)%|%QUERY_PARAM(')%|%REQ('`|)%", info) == "-|-|-"


def test_header_formats(info: StreamInfo) -> None:
    assert compile_header("%REQ(none)%", CONTEXT).render(info) == ""
    assert compile_header("a-%REQ(none)%-%PROTOCOL%", CONTEXT).render(info) == "a--HTTP/1.1"
    assert compile_header('%DYNAMIC_METADATA(["dns", "o", "a"])%', CONTEXT).render(info) == 'q"q'
    assert compile_header("%PER_REQUEST_STATE(my.key)%", CONTEXT).render(info) == 'fs-"v'
    assert compile_header("50%%", CONTEXT).constant == "50%"


def test_operators_of_an_extension(info: StreamInfo) -> None:
    compiled = compile_text("%REQ_WITHOUT_QUERY(:PATH):3%", CONTEXT, extensions={"REQ_WITHOUT_QUERY": None})
    assert compiled.render(info) == "/p/"
    with pytest.raises(FormatError):
        compile_text("%REQ_WITHOUT_QUERY(:PATH)%", CONTEXT)


REFUSED = [
    ("%FOO%", 0), ("ab%REQ%", 2), ("%REQ(%", 0), ("%REQ(A)", 0), ("a % b", 2), ("100%", 3), ("%REQ(A):x%", 0),
    ("%PROTOCOL(x)%", 0), ("%PROTOCOL:3%", 0), ("%REQ(A?B?C)%", 0), ("%req(A)%", 0), ("%REQ(x y)%", 0), ("%REQ()%", 0),
    ("%REQ(a:b)%", 0), ("%REQ(a)b%", 0), ("%PATH(X)%", 0), ("%PATH(WQ:X)%", 0), ("%QUERY_PARAM%", 0),
    ("%QUERY_PARAMS(X)%", 0), ("%COMMON_DURATION(DS_RX_BEG)%", 0), ("%COMMON_DURATION(a:b:c)%", 0),
    ("%START_TIME(%Y):5%", 0), ("%START_TIME(%n)%", 0), ("%METADATA(FOO:a)%", 0), ("%FILTER_STATE(a:FIELD)%", 0),
    ("%FILTER_STATE(a:PLAIN:x)%", 0), ("%FILTER_STATE(a:X)%", 0), ("%GRPC_STATUS(X)%", 0),
    ("%GRPC_STATUS_NUMBER(x)%", 0),
    ("%REQUESTED_SERVER_NAME(X)%", 0), ("%REQUESTED_SERVER_NAME(SNI_FIRST:X)%", 0), ("%PROTOCOL%%", 10),
    ("%DYNAMIC_METADATA()%", 0), ("%COALESCE({})%", 0), ('%COALESCE({"operators":[]})%', 0), ("%ENVIRONMENT%", 0),
]  # fmt: skip


@pytest.mark.parametrize(("format_string", "position"), REFUSED)
def test_refused_with_the_position(format_string: str, position: int) -> None:
    with pytest.raises(FormatError) as caught:
        compile_text(format_string, CONTEXT)
    assert caught.value.position == position


def test_a_misspelt_operator_is_told_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"position 3: no operator 'REPSONSE_CODE'; did you mean 'RESPONSE_CODE'\?"):
        compile_text("ab %REPSONSE_CODE%", CONTEXT)
