"""Who the client is, and what becomes of a head before anything looks at it: extensions of the connection manager."""

from __future__ import annotations

from typing import Any

from ..case import Case, get

TYPE = "type.googleapis.com/envoy.extensions.http"
STATS = r"^http\.$case\.downstream_rq_(rejected_via_ip_detection|total|4xx|2xx|completed):"
LOG = (
    "peer=%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT% rc=%RESPONSE_CODE% rf=%RESPONSE_FLAGS% rcd=%RESPONSE_CODE_DETAILS%\n"
)
INTERNAL = "internal_address_config: {cidr_ranges: [{address_prefix: 10.0.0.0, prefix_len: 8}]}"


def detection(kind: str, fields: str) -> str:
    return f"{{name: d, typed_config: {{'@type': {TYPE}.original_ip_detection.{kind}{fields and ', ' + fields}}}}}"


def xff(fields: str = "") -> str:
    return detection("xff.v3.XffConfig", fields)


def custom(fields: str) -> str:
    return detection("custom_header.v3.CustomHeaderConfig", fields)


def detected(name: str, *sends: str, by: tuple[str, ...], more: str = "", **options: Any) -> Case:
    extensions = f"original_ip_detection_extensions: [{', '.join(by)}]"
    hcm = f"{{{extensions}, {INTERNAL}{more and ', ' + more}}}"
    ops = tuple(op for send in sends for op in (send, 0.1))
    return Case(f"client-{name}", ops, hcm=hcm, log=LOG, stats=STATS, timing=False, **options)


def forwarded(*values: str) -> tuple[str, ...]:
    return tuple(get("/", f"x-forwarded-for: {value}") for value in values)


LOCAL = "xff_trusted_cidrs: {cidrs: [{address_prefix: 127.0.0.0, prefix_len: 8}, {address_prefix: 10.0.0.0, prefix_len: 8}]}"
FAR = "xff_trusted_cidrs: {cidrs: [{address_prefix: 172.16.0.0, prefix_len: 12}]}"
CHAINS = forwarded(
    "1.2.3.4",
    "10.1.1.1",
    "1.1.1.1, 2.2.2.2",
    "1.1.1.1, 10.2.2.2",
    "10.3.3.3,10.2.2.2",
    "junk",
    "1.1.1.1, junk",
    "::1, 2001:db8::1",
    "junk, 10.2.2.2",
)


def mutation(*entries: str) -> str:
    kind = f"{TYPE}.early_header_mutation.header_mutation.v3.HeaderMutation"
    return f"early_header_mutation_extensions: [{{name: m, typed_config: {{'@type': {kind}, mutations: [{', '.join(entries)}]}}}}]"


def append(name: str, value: str, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> str:
    return f"{{append: {{header: {{key: '{name}', value: '{value}'}}, append_action: {action}}}}}"


def early(name: str, send: str, *entries: str, more: str = "", **options: Any) -> Case:
    hcm = f"{{{mutation(*entries)}{more and ', ' + more}}}"
    return Case(f"early-mutation-{name}", send, hcm=hcm, timing=False, **options)


BY_HEADER = "header_name: x-client"


def announced(name: str, port: int, ports: str, *lines: str, more: str = "") -> Case:
    """A client whose PROXY protocol header says which port it was going to."""
    return Case(
        f"client-port-{name}",
        f"PROXY TCP4 1.2.3.4 5.6.7.8 1111 {port}\r\n" + get("/", "connection: close", *lines),
        listener_filters="[{proxy_protocol: {}}]",
        hcm=f"{{forward_proto_config: {{{ports}}}{more}}}",
        quiet=10.0,
        timing=False,
    )


_PORTS = "https_destination_ports: [443], http_destination_ports: [80]"
_CLAIMED = "x-forwarded-proto: http"

CASES = [
    announced("https", 443, _PORTS, more=", use_remote_address: true"),
    announced("http", 80, _PORTS),
    announced("other", 81, _PORTS),
    announced("both", 443, "http_destination_ports: [443], https_destination_ports: [443]"),
    announced("claimed", 443, _PORTS, _CLAIMED),
    announced("claimed-from-outside", 443, _PORTS, _CLAIMED, more=", use_remote_address: true"),
    Case(
        "client-port-own",
        get("/", "connection: close"),
        hcm="{forward_proto_config: {https_destination_ports: [$port]}}",
        quiet=10.0,
        timing=False,
    ),
    detected("xff", get(), *CHAINS, by=(xff(),)),
    detected("xff-hops", get(), *CHAINS, by=(xff("xff_num_trusted_hops: 1"),)),
    detected("xff-trusted", get(), *CHAINS, by=(xff(LOCAL),)),
    detected("xff-trusted-not-the-peer", get(), *CHAINS, by=(xff(FAR),)),
    detected("xff-appends", get(), *CHAINS, by=(xff("skip_xff_append: false"),)),
    detected("xff-trusted-appends", get(), *CHAINS, by=(xff(LOCAL + ", skip_xff_append: false"),)),
    detected(
        "header",
        get(),
        *(
            get("/", f"x-client: {value}")
            for value in ("1.2.3.4", "10.1.1.1", "2001:db8::1", "junk", "1.2.3.4:80", "1.1.1.1, 2.2.2.2")
        ),
        by=(custom(BY_HEADER),),
    ),
    detected("header-twice", get("/", "x-client: 1.1.1.1", "x-client: 2.2.2.2"), by=(custom(BY_HEADER),)),
    detected(
        "header-trusted",
        get("/", "x-client: 10.1.1.1"),
        get("/", "x-client: 1.1.1.1"),
        by=(custom(BY_HEADER + ", allow_extension_to_set_address_as_trusted: true"),),
    ),
    detected(
        "header-or-reject",
        get(),
        get("/", "x-client: junk"),
        get("/", "x-client: 1.1.1.1"),
        by=(custom(BY_HEADER + ", reject_with_status: {code: 401}"),),
        shows="rc=401",
    ),
    detected("header-or-reject-odd", get(), by=(custom(BY_HEADER + ", reject_with_status: {code: 200}"),)),
    detected(
        "two",
        get("/", "x-forwarded-for: 1.1.1.1"),
        get("/", "x-client: 2.2.2.2", "x-forwarded-for: 1.1.1.1"),
        by=(custom(BY_HEADER), xff()),
    ),
    detected("with-remote-address", get(), by=(xff(),), more="use_remote_address: true", refused=True),
    detected("with-hops", get(), by=(xff(),), more="xff_num_trusted_hops: 1", refused=True),
    detected("hops-and-ranges", get(), by=(xff(LOCAL + ", xff_num_trusted_hops: 1"),), refused=True),
    detected(
        "unknown",
        get(),
        by=("{name: d, typed_config: {'@type': type.googleapis.com/google.protobuf.StringValue}}",),
        refused=True,
    ),
    Case(
        "client-mapped",
        get(),
        hcm="{use_remote_address: true, represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true}",
        log=LOG,
    ),
    Case(
        "client-mapped-chain",
        get("/", "x-forwarded-for: 1.1.1.1"),
        hcm="{use_remote_address: true, represent_ipv4_remote_address_as_ipv4_mapped_ipv6: true, xff_num_trusted_hops: 1}",
        log=LOG,
    ),
    early("adds", get(), append("x-new", "one")),
    early("removes", get("/", "x-old: 1", "x-old: 2", "x-keep: 3"), "{remove: x-old}"),
    early(
        "formats",
        get("/a", "x-in: v"),
        append("x-new", "%REQ(x-in)% %PROTOCOL% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
    ),
    early("forwarded-for", get(), append("x-forwarded-for", "1.2.3.4"), log=LOG),
    early(
        "for-routes",
        get("/", "x-to: here"),
        append("x-route", "%REQ(x-to)%"),
        routes="- {match: {prefix: /, headers: [{name: x-route, string_match: {exact: here}}]}, route: {cluster: $up}}",
    ),
    early("request-id", get(), append("x-request-id", "mine")),
    early("removes-request-id", get("/", "x-request-id: yours"), "{remove: x-request-id}"),
    early("control", get(), append("x-envoy-retry-on", "5xx"), more="use_remote_address: true"),
    early("path", get("/a"), append(":path", "/b"), refused=True),
    early("host", get("/a"), append("host", "o.test"), refused=True),
    early(
        "append",
        get("/a", "x-a: 1"),
        append("x-a", "2", "APPEND_IF_EXISTS_OR_ADD"),
        append("x-b", "3", "ADD_IF_ABSENT"),
        append("x-c", "4", "OVERWRITE_IF_EXISTS"),
    ),
]
