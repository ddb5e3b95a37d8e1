"""The network filters that stand before tcp_proxy and the HTTP connection manager: access control, limits, state."""

from __future__ import annotations

import json
from typing import Any

from ..case import Act, Case, Client, Wait, client, get, raw
from .listeners import client_hello

_TYPES = {
    "rbac": "envoy.extensions.filters.network.rbac.v3.RBAC",
    "connection_limit": "envoy.extensions.filters.network.connection_limit.v3.ConnectionLimit",
    "local_ratelimit": "envoy.extensions.filters.network.local_ratelimit.v3.LocalRateLimit",
    "set_filter_state": "envoy.extensions.filters.network.set_filter_state.v3.Config",
    "sni_cluster": "envoy.extensions.filters.network.sni_cluster.v3.SniCluster",
}
_LOG = "%RESPONSE_FLAGS% %CONNECTION_TERMINATION_DETAILS% rx=%BYTES_RECEIVED% tx=%BYTES_SENT% up=%UPSTREAM_CLUSTER%"
_ANY = {"any": True}


def entry(kind: str, **config: Any) -> dict[str, Any]:
    return {"name": kind, "typed_config": {"@type": f"type.googleapis.com/{_TYPES[kind]}", **config}}


def before_tcp(name: str, filters: list[dict[str, Any]], *clients: Client, log: str = _LOG, **more: Any) -> Case:
    """The filters, and a tcp_proxy to an echo behind them."""
    more.setdefault("upstreams", raw(Act.ECHO))
    return Case(
        f"network-{name}",
        clients=clients or (Client(("hello", 0.3, " again", 0.2, Act.HALF_CLOSE), raw=True),),
        network=json.dumps([*filters, {"tcp_proxy": {"cluster": "$up"}}]),
        log=f"{log}\n",
        exact_end=True,
        sort_log=True,
        **more,
    )


def before_http(name: str, filters: list[dict[str, Any]], *clients: Client, **more: Any) -> Case:
    """The filters, and a connection manager behind them."""
    hcm = {
        "stat_prefix": "$case",
        "route_config": {
            "virtual_hosts": [
                {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "$up"}}]}
            ]
        },
        "http_filters": [{"router": {}}],
        "access_log": [
            {
                "file_log": {
                    "path": "$dir/$case.log",
                    "log_format": {"text_format_source": {"inline_string": more.pop("log", _LOG) + "\n"}},
                }
            }
        ],
    }
    return Case(
        f"network-{name}", clients=clients or (client(get()),), network=json.dumps([*filters, {"hcm": hcm}]), **more
    )


def rules(action: str = "ALLOW", permission: Any = _ANY, principal: Any = _ANY, name: str = "p") -> dict[str, Any]:
    return {"action": action, "policies": {name: {"permissions": [permission], "principals": [principal]}}}


def rbac(name: str, *clients: Client, **config: Any) -> Case:
    options = {key: config.pop(key) for key in ("differs", "refused", "timing") if key in config}
    config = {"stat_prefix": "$case.", **config}
    return before_tcp(
        f"rbac-{name}",
        [entry("rbac", **config)],
        *clients,
        stats=r"^$case\.|^tcp\.$case\.downstream_cx_total",
        **options,
    )


_LOOPBACK = {"address_prefix": "127.0.0.0", "prefix_len": 8}
_ELSEWHERE = {"address_prefix": "10.0.0.0", "prefix_len": 8}
_SLOW_DENIAL = Client(("hello", 0.2, "more"), raw=True, quiet=2.0)


def _limited(**config: Any) -> dict[str, Any]:
    return entry("connection_limit", stat_prefix="$case", **config)


def _bucket(maximum: int, per_fill: int = 1, interval: str = "60s") -> dict[str, Any]:
    return {"max_tokens": maximum, "tokens_per_fill": per_fill, "fill_interval": interval}


def _rated(bucket: dict[str, Any], **config: Any) -> dict[str, Any]:
    return entry("local_ratelimit", stat_prefix="$case", token_bucket=bucket, **config)


def _state(key: str, text: str, **more: Any) -> dict[str, Any]:
    return {"object_key": key, "format_string": {"text_format_source": {"inline_string": text}}, **more}


_SNI_CLUSTER = {
    "name": "sni.test",
    "type": "STATIC",
    "connect_timeout": "1s",
    "load_assignment": {
        "cluster_name": "sni.test",
        "endpoints": [
            {
                "lb_endpoints": [
                    {"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": "$up2_port"}}}}
                ]
            }
        ],
    },
}
HELLO = Client(("hello", Act.WAIT_OTHERS, Act.CLOSE), raw=True)
SECOND = Client(("second", 0.4, Act.CLOSE), raw=True, start=0.2)
SILENT_SECOND = Client((0.5, Act.CLOSE), raw=True, start=0.2)
BOTH = (HELLO, SECOND)
ONE_AFTER_THE_OTHER = (
    Client(("hello", Wait("hello"), Act.HALF_CLOSE, Act.WAIT_EOF), raw=True),
    Client(("later", 0.3, Act.CLOSE), raw=True, start=0.7, after=1),
)
_STATS = r"^(connection_limit|local_rate_limit)\.$case\.|^tcp\.$case\.downstream_cx_total|^http\.$case\.downstream_cx_(total|active|destroy)$"

CASES = [
    rbac("allowed", rules=rules()),
    rbac("denied", rules=rules(permission={"not_rule": _ANY})),
    rbac("denied-by-name", rules=rules("DENY", name="my policy")),
    rbac("no-rules"),
    rbac("empty-rules", rules={}),
    rbac("logged", rules=rules("LOG")),
    rbac("source", rules=rules(principal={"direct_remote_ip": _LOOPBACK})),
    rbac("source-elsewhere", rules=rules(principal={"remote_ip": _ELSEWHERE})),
    rbac("destination", rules=rules(permission={"destination_ip": _LOOPBACK})),
    rbac("port", rules=rules(permission={"destination_port_range": {"start": 1, "end": 65536}})),
    rbac("wrong-port", rules=rules(permission={"destination_port": 1})),
    rbac("no-server-name", rules=rules(permission={"requested_server_name": {"exact": "a"}})),
    rbac("no-certificate", rules=rules(principal={"authenticated": {}})),
    rbac("shadow-denies", rules=rules(), shadow_rules=rules("DENY"), shadow_rules_stat_prefix="dry_"),
    rbac("shadow-alone", shadow_rules=rules("DENY")),
    rbac("continuous", rules=rules(), enforcement_type="CONTINUOUS"),
    rbac("silent-client", Client((0.3, Act.HALF_CLOSE), raw=True), rules=rules("DENY")),
    rbac("delayed", _SLOW_DENIAL, rules=rules("DENY"), delay_deny="0.8s"),
    rbac("header-is-refused", rules=rules(permission={"header": {"name": "a", "present_match": True}}), refused=True),
    before_tcp(
        "rbac-before-a-limit", [entry("rbac", stat_prefix="a", rules=rules("DENY")), _limited(max_connections=1)]
    ),
    before_http("rbac-denied-http", [entry("rbac", stat_prefix="$case.", rules=rules("DENY"))], stats=r"^$case\."),
    before_http("rbac-allowed-http", [entry("rbac", stat_prefix="$case.", rules=rules())], stats=r"^$case\."),
    before_tcp("limit", [_limited(max_connections=1)], *BOTH, stats=_STATS),
    before_tcp("limit-silent-client", [_limited(max_connections=1)], HELLO, SILENT_SECOND, stats=_STATS),
    before_tcp("limit-enough", [_limited(max_connections=2)], *BOTH, stats=_STATS),
    before_tcp(
        "limit-one-after-the-other",
        [_limited(max_connections=1)],
        *ONE_AFTER_THE_OTHER,
        stats=_STATS,
    ),
    before_tcp(
        "limit-delayed",
        [_limited(max_connections=1, delay="0.6s")],
        HELLO,
        Client(("second",), raw=True, start=0.2),
        stats=_STATS,
    ),
    before_tcp(
        "limit-off",
        [_limited(max_connections=1, runtime_enabled={"default_value": False, "runtime_key": "none"})],
        *BOTH,
        stats=r"^connection_limit\.$case\.limited|^tcp\.$case\.downstream_cx_total",
    ),
    before_http(
        "limit-http",
        [_limited(max_connections=1)],
        Client((get(), Act.WAIT_OTHERS, Act.CLOSE), timing=False),
        Client((get("/second"),), start=0.2, timing=False),
        stats=_STATS,
    ),
    before_tcp("rate", [_rated(_bucket(1))], *BOTH, stats=_STATS),
    before_tcp("rate-enough", [_rated(_bucket(2))], *BOTH, stats=_STATS),
    before_tcp(
        "rate-refilled",
        [_rated(_bucket(1, 1, "0.4s"))],
        *ONE_AFTER_THE_OTHER,
        stats=_STATS,
    ),
    before_tcp(
        "rate-off",
        [_rated(_bucket(1), runtime_enabled={"default_value": False, "runtime_key": "none"})],
        *BOTH,
        stats=_STATS,
    ),
    before_tcp(
        "rate-shared",
        [_rated(_bucket(3), share_key="$case"), _rated(_bucket(3), share_key="$case")],
        *BOTH,
        stats=_STATS,
    ),
    before_tcp("rate-interval-too-short", [_rated(_bucket(1, 1, "0.04s"))], refused=True),
    before_http("rate-http", [_rated(_bucket(1))], client(get()), Client((get("/second"),), start=0.2), stats=_STATS),
    before_tcp(
        "state",
        [
            entry(
                "set_filter_state",
                on_new_connection=[
                    _state("k", "a %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%", factory_key="envoy.string")
                ],
            )
        ],
        log="%FILTER_STATE(k:PLAIN)%",
        shows="a 127.0.0.1",
    ),
    before_tcp(
        "state-names-the-cluster",
        [entry("set_filter_state", on_new_connection=[_state("envoy.tcp_proxy.cluster", "none")])],
    ),
    before_tcp(
        "state-skips-the-empty",
        [
            entry(
                "set_filter_state",
                on_new_connection=[
                    _state("k", "%REQUESTED_SERVER_NAME%", factory_key="envoy.string", skip_if_empty=True)
                ],
            )
        ],
        log="[%FILTER_STATE(k:PLAIN)%]",
    ),
    before_http(
        "state-http",
        [entry("set_filter_state", on_new_connection=[_state("k", "of the connection", factory_key="envoy.string")])],
        log="%FILTER_STATE(k:PLAIN)%",
        shows="of the connection",
    ),
    before_tcp(
        "state-read-by-rbac",
        [
            entry("set_filter_state", on_new_connection=[_state("k", "yes", factory_key="envoy.string")]),
            entry(
                "rbac",
                stat_prefix="$case.",
                rules=rules(principal={"filter_state": {"key": "k", "string_match": {"exact": "yes"}}}),
            ),
        ],
        stats=r"^$case\.",
    ),
    before_tcp("sni-cluster-without-tls", [entry("sni_cluster")]),
    Case(
        "network-sni-cluster",
        clients=(
            Client((client_hello("sni.test"), 0.3, Act.HALF_CLOSE), raw=True),
            Client((client_hello("nowhere.test"), 0.3, Act.HALF_CLOSE), raw=True, start=0.2),
        ),
        listener_filters="- tls_inspector: {}",
        network=json.dumps([entry("sni_cluster"), {"tcp_proxy": {"cluster": "$up"}}]),
        log="%REQUESTED_SERVER_NAME% %UPSTREAM_CLUSTER% %RESPONSE_FLAGS%\n",
        clusters=json.dumps([_SNI_CLUSTER]),
        upstreams={**raw("one", Act.WAIT_EOF), "up2": raw("two", Act.WAIT_EOF)["up"]},
        sort_log=True,
        exact_end=True,
    ),
]
