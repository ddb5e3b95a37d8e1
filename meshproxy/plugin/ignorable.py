"""The one table of fields that meshproxy accepts without acting on them, each with the reason why that is safe.

A field may stand here only when leaving it out changes nothing that a user could rely on: it tunes something that
meshproxy doesn't have, describes the client to a server, or steers Envoy's own internals. A field that limits,
protects, routes or rewrites never does.
"""

from __future__ import annotations

from typing import Final

_TUNING = "tunes Envoy's event loop; what is observable from outside stays the same"
_IDENTITY = "says to a management server what the client is; meshproxy sends its own"
_LABEL = "a label; the extension is found by the type of its configuration, as in Envoy"
_DNS = "tunes c-ares' sockets; here each question has a socket of its own"
_CRASH = "steers Envoy's own crash handling, of which meshproxy has none"
_SEVERAL = "ends the process when several of Envoy's threads hang; each worker here is a process, watched by itself"
_CHUNKS = "sizes a buffer of Envoy's; output comes in bounded chunks here too"

_FORMATTED = "counts only where the value is a format, which Envoy has behind a runtime feature that is off"

_TOLD_TO_NOBODY = "stands in an object of the filter state that only extensions compiled into Envoy can read"

_UNUSED = "of no effect in Envoy either"

IGNORABLE: Final[dict[str, dict[str, str]]] = {
    "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": {
        "http3_protocol_options": "matters to HTTP/3 alone, which is refused as a codec",
    },
    "envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": {
        "downstream_idle_timeout": _UNUSED,
        "upstream_idle_timeout": _UNUSED,
    },
    "envoy.extensions.filters.http.ext_authz.v3.ExtAuthz": {"filter_metadata": _TOLD_TO_NOBODY},
    "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor": {"filter_metadata": _TOLD_TO_NOBODY},
    "envoy.extensions.filters.http.jwt_authn.v3.JwksAsyncFetch": {
        "fast_listener": "keys are fetched when the first request needs them, so no listener waits for them",
    },
    "envoy.extensions.compression.gzip.compressor.v3.Gzip": {
        "chunk_size": _CHUNKS,
    },
    "envoy.extensions.compression.gzip.decompressor.v3.Gzip": {
        "chunk_size": _CHUNKS,
    },
    "envoy.extensions.compression.brotli.compressor.v3.Brotli": {
        "chunk_size": _CHUNKS,
    },
    "envoy.extensions.compression.brotli.decompressor.v3.Brotli": {
        "chunk_size": _CHUNKS,
        "disable_ring_buffer_reallocation": _CHUNKS,
    },
    "envoy.extensions.compression.zstd.compressor.v3.Zstd": {
        "chunk_size": _CHUNKS,
    },
    "envoy.extensions.compression.zstd.decompressor.v3.Zstd": {
        "chunk_size": _CHUNKS,
    },
    "envoy.extensions.access_loggers.grpc.v3.CommonGrpcAccessLogConfig": {
        "filter_state_objects_to_log": "of no effect in Envoy's log for OpenTelemetry either; that of gRPC heeds it",
    },
    "stats.MetricConfig": {"match": "of no effect in Istio's own filter either"},
    "envoy.tcp.metadataexchange.config.MetadataExchange": {
        "enable_discovery": "asks who a silent peer is by its address; nobody knows without Istio's extension",
    },
    "envoy.config.listener.v3.Listener": {
        "max_connections_to_accept_per_socket_event": _TUNING,
        "reuse_port": "deprecated; only enable_reuse_port counts, as in Envoy",
        "connection_balance_config": "spreads connections over Envoy's threads; each worker here is a process",
    },
    "envoy.config.route.v3.RateLimit.Action.GenericKey": {"default_value": _FORMATTED},
    "envoy.config.route.v3.RateLimit.Action.HeaderValueMatch": {"default_value": _FORMATTED},
    "envoy.config.route.v3.RateLimit.Action.QueryParameterValueMatch": {"default_value": _FORMATTED},
    "envoy.extensions.upstreams.tcp.v3.TcpProtocolOptions": {
        "idle_timeout": "of raw connections that wait in a pool for a client; here none does",
    },
    "envoy.type.matcher.v3.RegexMatcher.GoogleRE2": {
        "max_program_size": "deprecated; RE2 needs time in proportion to the text, however large the program is",
    },
    "envoy.config.route.v3.RouteAction": {"retry_policy_typed_config": _UNUSED},
    "envoy.config.route.v3.VirtualHost": {"retry_policy_typed_config": _UNUSED},
    "envoy.config.core.v3.Node": {
        "user_agent_name": _IDENTITY,
        "user_agent_version": _IDENTITY,
        "user_agent_build_version": _IDENTITY,
        "extensions": _IDENTITY,
        "client_features": _IDENTITY,
        "listening_addresses": _IDENTITY,
        "dynamic_parameters": "goes to a management server as it stands",
    },
    "envoy.config.bootstrap.v3.Admin": {"profile_path": "where Envoy's CPU profiler writes; there is none here"},
    "envoy.config.bootstrap.v3.Bootstrap": {
        "perf_tracing_file_path": "a build of Envoy for profiling writes it",
        "application_log_config": "the format of the program's own log; meshproxy's is its own",
        "deferred_stat_options": "saves Envoy memory; the statistics are the same",
        "enable_dispatcher_stats": "statistics of Envoy's event loop",
        "fatal_actions": _CRASH,
        "grpc_async_client_manager_config": "says how long Envoy keeps clients that nobody uses",
        "node_context_params": "goes into the names of xdstp:// resources, of which there are none",
        "memory_allocator_manager": "tunes Envoy's memory allocator",
    },
    "envoy.config.bootstrap.v3.Watchdog": {
        "actions": "further things to do about a hang, which is counted and logged with its stack anyway",
        "multikill_timeout": _SEVERAL,
        "multikill_threshold": _SEVERAL,
    },
    "envoy.config.metrics.v3.HistogramBucketSettings": {
        "bins": "sizes the memory of Envoy's histograms; the buckets are the same",
    },
    "envoy.extensions.network.socket_interface.v3.DefaultSocketInterface": {
        "io_uring_options": _TUNING,
    },
    "envoy.config.bootstrap.v3.ClusterManager": {
        "enable_deferred_cluster_creation": "saves Envoy memory; what is served is the same",
    },
    "envoy.config.core.v3.Http2ProtocolOptions": {
        "use_oghttp2_codec": "chooses between two codecs of Envoy",
        "max_metadata_size": "matters to METADATA frames alone, and `allow_metadata` is refused",
    },
    "envoy.config.core.v3.Http1ProtocolOptions": {
        "use_balsa_parser": "chooses between two parsers of Envoy",
    },
    "envoy.config.core.v3.JsonFormatOptions": {
        "sort_properties": "deprecated; the properties are sorted in any case, as in Envoy",
    },
    "envoy.config.core.v3.Metadata": {
        "typed_filter_metadata": "read by extensions of Envoy that meshproxy doesn't have",
    },
    "envoy.config.core.v3.SocketOption": {
        "description": "a label",
    },
    "envoy.config.route.v3.WeightedCluster": {
        "total_weight": "deprecated; as in Envoy the total is the sum of the weights",
    },
    "envoy.config.route.v3.RetryPolicy.RetryHostPredicate": {
        "name": _LABEL,
    },
    "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig": {
        "udp_max_queries": _DNS,
        "max_udp_channel_duration": _DNS,
        "reinit_channel_on_timeout": _DNS,
        "edns0_max_payload_size": "tunes c-ares; a longer answer comes over TCP",
    },
    "envoy.extensions.network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig": {
        "num_resolver_threads": "names are resolved without threads",
    },
    "envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig": {
        "allow_coalesced_connections": "lets names that share a certificate share connections; here each has its own",
    },
    "envoy.config.cluster.v3.UpstreamConnectionOptions": {
        "set_local_interface_name_on_upstream_connections": "a note on connections that only Envoy Mobile reads",
    },
    "envoy.config.endpoint.v3.LocalityLbEndpoints": {
        "metadata": "of the locality; nothing that meshproxy has asks for it",
        "proximity": "Envoy doesn't look at it either",
    },
    "envoy.config.cluster.v3.Cluster": {
        "lrs_server": "not implemented in Envoy either: load is reported to whom `load_stats_config` names",
        "wait_for_warm_on_init": "about the order of warming; what is served in the end is the same",
    },
    "envoy.config.cluster.v3.Cluster.CommonLbConfig": {
        "update_merge_window": "joins updates of hosts to save Envoy work; here each is applied at once",
    },
    "envoy.type.matcher.v3.RegexMatcher": {
        "google_re2": "deprecated; names the engine that is used in any case",
    },
    "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector": {
        "initial_read_buffer_size": _TUNING,
    },
    "envoy.config.core.v3.TypedExtensionConfig": {
        "name": "a label; the extension is found by the type of its configuration, as in Envoy",
    },
    "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": {
        "max_session_keys": "sessions with hosts aren't resumed: every handshake is a full one",
    },
    "envoy.config.core.v3.TransportSocket": {
        "name": "a label; the transport socket is found by the type of its configuration, as in Envoy",
    },
    "envoy.config.accesslog.v3.AccessLog": {
        "name": "a label; the logger is found by the type of its configuration, as in Envoy",
    },
    "envoy.config.trace.v3.Tracing.Http": {
        "name": "a label; the tracer is found by the type of its configuration, as in Envoy",
    },
}


def reason_to_ignore(full_name: str, field: str) -> str | None:
    """Why `field` of the message `full_name` may be set without effect; None when it may not."""
    fields = IGNORABLE.get(full_name)
    return fields.get(field) if fields else None
