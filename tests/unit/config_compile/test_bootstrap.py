"""Whole bootstraps: what stands where in the snapshot, and how problems are told."""

import re
from pathlib import Path

import pytest

from meshproxy.address import PipeAddress, SocketAddress
from meshproxy.errors import ConfigError
from meshproxy.model.endpoint import HealthStatus, Locality
from meshproxy.model.http import HttpConnectionManagerConfig
from meshproxy.model.route import ForwardAction
from meshproxy.model.snapshot import Snapshot, StatsConfig
from tests.unit.config_compile.compiling import compile_text, make_context, problems_of

DATA = Path(__file__).parents[2] / "data" / "envoy-configs"
_EXT = "type.googleapis.com/envoy.extensions"
TCP = (
    f"{{name: t, typed_config: {{'@type': {_EXT}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: t, cluster: c}}}}"
)


def sidecar(name: str) -> Snapshot:
    return compile_text((DATA / name).read_text())


def test_the_outbound_sidecar() -> None:
    snapshot = sidecar("sidecar-outbound.yaml")
    first, tcp, http = snapshot.listeners
    assert (first.name, first.use_original_dst, first.bind_to_port) == ("virtualOutbound", True, True)
    assert [chain.match.destination_port for chain in first.filter_chains] == [24015, None]
    assert (tcp.address, tcp.bind_to_port, tcp.traffic_direction) == (
        SocketAddress("127.1.0.1", 8080),
        False,
        "OUTBOUND",
    )
    assert (http.listener_filters_timeout, http.continue_on_listener_filters_timeout) == (1.0, True)
    manager = http.filter_chains[0].filters[0].config
    assert isinstance(manager, HttpConnectionManagerConfig)
    a, b, rest = manager.routes.table.virtual_hosts
    action = a.routes[0].action
    assert isinstance(action, ForwardAction)
    assert action.retry_policy is not None
    assert action.retry_policy.host_refusals
    assert action.retry_policy.host_selection_max_attempts == 5
    assert (action.timeout, action.grpc_timeout_header_max) == (0.0, 0.0)
    assert (len(b.routes), len(b.routes[0].conditions), rest.domains) == (2, 1, ("*",))
    passthrough = snapshot.clusters["PassthroughCluster"]
    assert (passthrough.type, passthrough.lb_policy) == ("ORIGINAL_DST", "CLUSTER_PROVIDED")
    assert (passthrough.idle_timeout, passthrough.protocol) == (300.0, "DOWNSTREAM")
    assert len(snapshot.clusters["outbound|80||a.default.svc.cluster.local"].endpoints) == 2


def test_the_inbound_sidecar() -> None:
    snapshot = sidecar("sidecar-inbound.yaml")
    (listener,) = snapshot.listeners
    assert [spec.name.rpartition(".")[2] for spec in listener.listener_filters] == [
        "proxy_protocol",
        "tls_inspector",
        "http_inspector",
    ]
    tls = listener.filter_chains[1]
    assert (tls.name, tls.match.transport_protocol) == ("http-mtls", "tls")
    assert tls.transport_socket is not None
    manager = tls.filters[0].config
    assert manager.forward_client_cert_details == "APPEND_FORWARD"
    assert manager.set_current_client_cert_details == {"subject", "dns", "uri"}
    assert snapshot.node.id == "sidecar~127.0.0.1~app.default~default.svc.cluster.local"
    assert snapshot.admin.address == SocketAddress("127.0.0.1", 24901)


def test_grpc_and_connect() -> None:
    snapshot = sidecar("grpc-h2.yaml")
    assert [listener.name for listener in snapshot.listeners] == ["grpc", "connect"]
    file, service = snapshot.listeners[0].filter_chains[0].filters[0].config.access_logs
    assert (file.path, file.service) == ("/dev/stdout", None)
    assert (service.service.name, service.service.grpc.cluster) == ("http_envoy_accesslog", "als")


def test_all_problems_come_at_once_in_the_order_of_the_file() -> None:
    problems = problems_of(
        f"""\
        static_resources:
          clusters:
          - name: a
            type: ORIGINAL_DST
          - name: b
            per_connection_buffer_high_watermark_timeout: 1s
          - name: b
          listeners:
          - address: {{socket_address: {{address: localhost, port_value: 1}}}}
            filter_chains: [{{filters: [{TCP}]}}]
          - address: {{socket_address: {{address: 127.0.0.1, port_value: 1}}}}
            api_listener: {{}}
            filter_chains: [{{filters: [{TCP}, {TCP}]}}]
          secrets: [{{name: s}}]
        header_prefix: x-mesh
        """
    )
    found = [
        (int(match[1]), match[2])
        for problem in problems
        if (match := re.match(r"envoy\.yaml:(\d+):\d+: (\S+):", problem))
    ]
    assert found == [
        (3, "clusters[0].lb_policy"),
        (6, "clusters[1]"),
        (7, "clusters[2].name"),
        (9, "listeners[0].address.socket_address.address"),
        (12, "listeners[1]"),
        (13, "listeners[1].filter_chains[0].filters[0]"),
        (14, "secrets[0]"),
    ]


def test_an_empty_bootstrap_is_a_snapshot() -> None:
    snapshot = compile_text("static_resources: {}")
    assert (snapshot.listeners, dict(snapshot.clusters), snapshot.admin.address) == ((), {}, None)


def test_runtime_layers_are_merged_and_flattened() -> None:
    snapshot = compile_text(
        """\
        layered_runtime:
          layers:
          - name: first
            static_layer: {a: {b: 1, c: two}, share: {numerator: 5, denominator: TEN_THOUSAND}, flag: false}
          - {name: admin, admin_layer: {}}
          - {name: last, static_layer: {a.b: 3}}
        """
    )
    share = {"numerator": 5, "denominator": "TEN_THOUSAND"}
    assert snapshot.runtime == {"a.b": 3, "a.c": "two", "share": share, "flag": False}


def test_statistics_are_configured_before_any_is_made() -> None:
    told: list[StatsConfig] = []
    snapshot = compile_text(
        """\
        stats_flush_interval: 2s
        stats_config:
          use_all_default_tags: false
          stats_tags: [{tag_name: a, regex: '^x((y))'}, {tag_name: b, fixed_value: v}]
          stats_matcher: {exclusion_list: {patterns: [{prefix: drop}, {suffix: gone}]}}
          histogram_bucket_settings: [{match: {prefix: h}, buckets: [1, 2.5]}]
        """,
        make_context(configure_stats=told.append),
    )
    stats = snapshot.stats
    assert told == [stats]
    assert (stats.flush_interval, stats.use_all_default_tags, stats.inclusion) == (2.0, False, None)
    assert [stats.exclusion(name) for name in ("drop.a", "a.gone", "kept")] == [True, True, False]
    assert [(tag.name, tag.regex, tag.fixed_value) for tag in stats.tags] == [("a", "^x((y))", None), ("b", None, "v")]
    assert stats.buckets[0][1] == (1.0, 2.5)
    assert stats.buckets[0][0]("http")


def test_node_and_admin() -> None:
    snapshot = compile_text(
        """\
        node: {id: me, cluster: k, locality: {region: r, zone: z}, metadata: {A: [1, {b: c}]}, user_agent_name: u}
        admin: {address: {pipe: {path: '@admin', mode: 0}}, profile_path: /p}
        flags_path: /flags
        """
    )
    node = snapshot.node
    assert (node.id, node.cluster, node.region, node.zone, node.metadata) == (
        "me",
        "k",
        "r",
        "z",
        {"A": [1, {"b": "c"}]},
    )
    assert snapshot.admin.address == PipeAddress("@admin")
    assert snapshot.flags_path == "/flags"


def test_what_the_command_line_says_of_the_node_holds_where_the_file_is_silent() -> None:
    from meshproxy.model.snapshot import Node

    snapshot = compile_text("node: {id: mine}", make_context(node=Node(id="flag", cluster="k", zone="z")))
    assert (snapshot.node.id, snapshot.node.cluster, snapshot.node.zone) == ("mine", "k", "z")


CLUSTER = """\
static_resources:
  clusters:
  - name: c
    type: STRICT_DNS
    alt_stat_name: alt
    connect_timeout: 0.25s
    respect_dns_ttl: true
    dns_failure_refresh_rate: {base_interval: 1s}
    circuit_breakers:
      thresholds: [{priority: HIGH, max_retries: 9}, {max_connections: 1, retry_budget: {}}, {max_connections: 2}]
    upstream_connection_options: {tcp_keepalive: {keepalive_time: 7, keepalive_probes: 3}}
    upstream_bind_config:
      source_address: {address: 127.0.0.6, port_value: 0}
      extra_source_addresses: [{address: {address: '::6', port_value: 0}}]
    load_assignment:
      cluster_name: c
      policy: {overprovisioning_factor: 200}
      endpoints:
      - locality: {region: r, zone: z, sub_zone: s}
        priority: 1
        load_balancing_weight: 4
        lb_endpoints:
        - load_balancing_weight: 3
          health_status: DRAINING
          metadata: {filter_metadata: {envoy.lb: {v: v1}}}
          endpoint: {hostname: shown, address: {socket_address: {address: name.test, port_value: 5}}}
        - endpoint:
            address: {socket_address: {address: 10.0.0.1, port_value: 6}}
            health_check_config: {port_value: 7}
"""


def test_a_cluster_with_everything() -> None:
    cluster = compile_text(CLUSTER).clusters["c"]
    first, second = cluster.endpoints
    assert (first.address.text, first.hostname, first.weight) == ("name.test:5", "shown", 3)
    assert (first.locality, first.locality_weight, first.priority) == (Locality("r", "z", "s"), 4, 1)
    assert (first.health_status, first.metadata) == (HealthStatus.DRAINING, {"envoy.lb": {"v": "v1"}})
    assert (second.address, second.health_check_port, second.weight) == (SocketAddress("10.0.0.1", 6), 7, 1)
    assert (cluster.overprovisioning_factor, cluster.alt_stat_name, cluster.connect_timeout) == (200, "alt", 0.25)
    assert (cluster.dns.respect_ttl, cluster.dns.failure_base, cluster.dns.failure_max) == (True, 1.0, 10.0)
    assert (cluster.thresholds.max_connections, cluster.thresholds.retry_budget_percent) == (1, 20.0)
    assert (cluster.thresholds_high.max_retries, cluster.thresholds_high.max_connections) == (9, 1024)
    assert cluster.tcp_keepalive == (7, 0, 3)
    assert cluster.bind is not None
    assert (cluster.bind.ipv4.address, cluster.bind.ipv6.address) == (("127.0.0.6", 0), ("::6", 0))
    assert cluster.http1.max_headers_kb == 80


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("{'@type': %s.round_robin.v3.RoundRobin}", ("ROUND_ROBIN", 2, False)),
        ("{'@type': %s.least_request.v3.LeastRequest, choice_count: 5}", ("LEAST_REQUEST", 5, False)),
        ("{'@type': %s.random.v3.Random, locality_lb_config: {locality_weighted_lb_config: {}}}", ("RANDOM", 2, True)),
        (
            "{'@type': %s.wrr_locality.v3.WrrLocality, endpoint_picking_policy: {policies: [{typed_extension_config: "
            "{name: i, typed_config: {'@type': %s.client_side_weighted_round_robin.v3."
            "ClientSideWeightedRoundRobin}}}]}}",
            ("ROUND_ROBIN", 2, True),
        ),
    ],
)
def test_load_balancing_as_extensions(policy: str, expected: tuple[str, int, bool]) -> None:
    package = "type.googleapis.com/envoy.extensions.load_balancing_policies"
    unknown = f"{{'@type': {package}.pick_first.v3.PickFirst}}"
    policies = ", ".join(
        f"{{typed_extension_config: {{name: x, typed_config: {typed}}}}}"
        for typed in (unknown, policy.replace("%s", package))
    )
    text = f"static_resources: {{clusters: [{{name: c, load_balancing_policy: {{policies: [{policies}]}}}}]}}"
    cluster = compile_text(text).clusters["c"]
    assert (cluster.lb_policy, cluster.lb.choice_count, cluster.lb.locality_weighted) == expected


def test_a_listener_with_everything() -> None:
    (listener,) = compile_text(
        f"""\
        static_resources:
          listeners:
          - address: {{socket_address: {{address: '::', port_value: 1, ipv4_compat: true}}}}
            additional_addresses: [{{address: {{pipe: {{path: /s}}}}}}]
            deprecated_v1: {{bind_to_port: false}}
            transparent: true
            freebind: true
            enable_reuse_port: false
            stat_prefix: st
            traffic_direction: INBOUND
            metadata: {{filter_metadata: {{istio: {{a: b}}}}}}
            socket_options: [{{level: 1, name: 2, int_value: 3}}, {{level: 4, name: 5, buf_value: QUI=}}]
            filter_chains:
            - filter_chain_match: {{server_names: ['*.A.test'], source_type: SAME_IP_OR_LOOPBACK, source_ports: [1, 2]}}
              transport_socket_connect_timeout: 3s
              filters: [{TCP}]
            default_filter_chain: {{name: d, filters: [{TCP}]}}
        """
    ).listeners
    assert (listener.name, listener.ipv4_compat, listener.bind_to_port) == ("[::]:1", True, False)
    assert (listener.transparent, listener.freebind, listener.reuse_port) == (True, True, False)
    assert listener.additional_addresses == (PipeAddress("/s"),)
    assert listener.socket_options == ((1, 2, 3), (4, 5, b"AB"))
    assert (listener.stat_name, listener.metadata) == ("st", {"istio": {"a": "b"}})
    (chain,) = listener.filter_chains
    assert (chain.match.server_names, chain.match.source_type.name) == (("*.a.test",), "SAME_IP_OR_LOOPBACK")
    assert (chain.match.source_ports, chain.transport_socket_connect_timeout) == ((1, 2), 3.0)
    assert listener.default_filter_chain is not None
    assert listener.default_filter_chain.name == "d"


def test_a_transport_socket_that_nobody_compiles_is_named() -> None:
    text = f"""\
    static_resources:
      clusters:
      - name: c
        transport_socket:
          name: q
          typed_config: {{'@type': {_EXT}.transport_sockets.tls.v3.UpstreamTlsContext}}
      - name: d
        transport_socket: {{name: q, typed_config: {{'@type': {_EXT}.transport_sockets.raw_buffer.v3.RawBuffer}}}}
    """
    assert compile_text(text).clusters["d"].transport_socket is None
    with pytest.raises(
        ConfigError, match=r"envoy\.yaml:6:.*transport socket 'envoy\.extensions\.transport_sockets\.tls"
    ):
        compile_text(text, make_context(transport_sockets={}))


def test_a_cluster_without_a_source_address_has_that_of_the_cluster_manager() -> None:
    snapshot = compile_text(
        """
        cluster_manager:
          local_cluster_name: a
          outlier_detection: {event_log_path: /dev/null}
          upstream_bind_config: {source_address: {address: 127.0.0.2, port_value: 0}}
        static_resources:
          clusters:
          - {name: a}
          - {name: b, upstream_bind_config: {source_address: {address: 127.0.0.3, port_value: 0}}}
        """
    )
    assert snapshot.cluster_manager.local_cluster_name == "a"
    assert snapshot.cluster_manager.outlier_event_log_path == "/dev/null"
    assert [cluster.bind and cluster.bind.ipv4.address for cluster in snapshot.clusters.values()] == [
        ("127.0.0.2", 0),
        ("127.0.0.3", 0),
    ]


def test_values_of_the_runtime_that_are_written_as_text() -> None:
    layer = "{a: 'false', b: ' 12 ', c: '1.5', d: '1e3', e: yes please, f: {numerator: 5}, g: {h: 'TRUE'}, i: '1_0'}"
    snapshot = compile_text(f"layered_runtime: {{layers: [{{name: s, static_layer: {layer}}}]}}")
    assert snapshot.runtime == {
        "a": "false", "b": 12, "c": 1.5, "d": 1000, "e": "yes please", "f": {"numerator": 5}, "g.h": "TRUE", "i": "1_0",
    }  # fmt: skip


def test_the_sockets_of_a_listener() -> None:
    (listener,) = compile_text(
        f"""
        static_resources:
          clusters: [{{name: c}}]
          listeners:
          - name: l
            address: {{socket_address: {{address: 127.0.0.1, port_value: 7}}}}
            tcp_fast_open_queue_length: 5
            tcp_keepalive: {{keepalive_time: 30, keepalive_probes: 2}}
            socket_options:
            - {{level: 1, name: 9, int_value: 1}}
            - {{level: 1, name: 10, int_value: 2, state: STATE_LISTENING}}
            - {{level: 1, name: 11, int_value: 3, type: {{datagram: {{}}}}}}
            additional_addresses:
            - address: {{socket_address: {{address: 127.0.0.1, port_value: 8}}}}
              socket_options: {{}}
            - address: {{socket_address: {{address: 127.0.0.1, port_value: 9}}}}
            filter_chains: [{{filters: [{TCP}]}}]
        """
    ).listeners
    inherited = ((6, 23, 5), (1, 9, 1), (6, 6, 2), (6, 4, 30))  # fast open, then keep-alive
    assert (listener.socket_options, listener.later_socket_options) == (((1, 9, 1),), ((1, 10, 2), *inherited))
    assert listener.additional_options == {SocketAddress("127.0.0.1", 8): ((), inherited)}
