"""The operators without a parameter: for each one an expression (see `operand`).

The tables differ in what is printed when there is nothing; that, too, is Envoy's behaviour and was looked up.
"""

from __future__ import annotations

_REMOTE = "(info.remote_address or connection.remote_address)"
_UPSTREAM_NAME = "(info.upstream_host_name or info.upstream_host)"

# Operators without a parameter whose expression is "" when there is nothing.
TEXTS = {
    "ACCESS_LOG_TYPE": "(info.access_log_type or 'NotSet')",
    "CONNECTION_TERMINATION_DETAILS": "connection.termination_details",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS": "connection.direct_local_address",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": "connection.direct_remote_address",
    "DOWNSTREAM_LOCAL_ADDRESS": "connection.local_address",
    "DOWNSTREAM_LOCAL_CLOSE_REASON": "connection.local_close_reason",
    "DOWNSTREAM_LOCAL_SUBJECT": "tls.local_subject",
    "DOWNSTREAM_PEER_CERT": "tls.peer_certificate",
    "DOWNSTREAM_PEER_FINGERPRINT_1": "tls.peer_fingerprint_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256": "tls.peer_fingerprint_256",
    "DOWNSTREAM_PEER_ISSUER": "tls.peer_issuer",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256": "tls.peer_issuer_fingerprint_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL": "tls.peer_issuer_serial",
    "DOWNSTREAM_PEER_SERIAL": "tls.peer_serial",
    "DOWNSTREAM_PEER_SUBJECT": "tls.peer_subject",
    "DOWNSTREAM_REMOTE_ADDRESS": _REMOTE,
    "DOWNSTREAM_TLS_CIPHER": "tls.cipher",
    "DOWNSTREAM_TLS_GROUP": "tls.group",
    "DOWNSTREAM_TLS_SESSION_ID": "tls.session_id",
    "DOWNSTREAM_TLS_VERSION": "tls.version",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON": "underscored(connection.transport_failure_reason)",
    "FILTER_CHAIN_NAME": "connection.filter_chain_name",
    "LISTENER_NAME": "connection.listener_name",
    "PROTOCOL": "info.protocol",
    "ROUNDTRIP_DURATION": "''",  # of QUIC only
    "ROUTE_NAME": "info.route_name",
    "SPAN_ID": "info.span_id",
    "STREAM_ID": "(info.stream_id or request_fields.get('x-request-id', ''))",
    "TLS_JA3_FINGERPRINT": "connection.ja3",
    "TLS_JA4_FINGERPRINT": "connection.ja4",
    "TRACE_ID": "info.trace_id",
    "UPSTREAM_CLUSTER": "(info.upstream_cluster_alt or info.upstream_cluster)",
    "UPSTREAM_CLUSTER_RAW": "info.upstream_cluster",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED": "','.join([str(number) for number in connection_ids_attempted(info)])",
    "UPSTREAM_DETECTED_CLOSE_TYPE": "(info.upstream_detected_close_type or (info.upstream_host or not info.protocol)"
    " and 'Normal' or '')",
    "UPSTREAM_HOST": "info.upstream_host",
    "UPSTREAM_HOSTS_ATTEMPTED": "','.join(hosts_attempted(info))",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT": "','.join([ip_of(host) for host in hosts_attempted(info)])",
    "UPSTREAM_HOST_NAME": _UPSTREAM_NAME,
    "UPSTREAM_HOST_NAMES_ATTEMPTED": "','.join(host_names_attempted(info))",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT": "','.join([ip_of(host) for host in host_names_attempted(info)])",
    "UPSTREAM_LOCAL_ADDRESS": "info.upstream_local_address",
    "UPSTREAM_LOCAL_CLOSE_REASON": "info.upstream_local_close_reason",
    "UPSTREAM_PEER_CERT": "upstream_tls.peer_certificate",
    "UPSTREAM_PEER_ISSUER": "upstream_tls.peer_issuer",
    "UPSTREAM_PEER_SUBJECT": "upstream_tls.peer_subject",
    "UPSTREAM_PROTOCOL": "info.upstream_protocol",
    "UPSTREAM_REMOTE_ADDRESS": "info.upstream_remote_address",
    "UPSTREAM_SERVER_NAME": "info.upstream_server_name",
    "UPSTREAM_TLS_CIPHER": "upstream_tls.cipher",
    "UPSTREAM_TLS_GROUP": "upstream_tls.group",
    "UPSTREAM_TLS_SESSION_ID": "upstream_tls.session_id",
    "UPSTREAM_TLS_VERSION": "upstream_tls.version",
    "UPSTREAM_TRANSPORT_FAILURE_REASON": "underscored(info.upstream_transport_failure_reason)",
    "VIRTUAL_CLUSTER_NAME": "info.virtual_cluster_name",
}
TEXTS |= {f"{name}_WITHOUT_PORT": f"ip_of({TEXTS[name]})" for name in (
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS", "UPSTREAM_HOST_NAME", "UPSTREAM_LOCAL_ADDRESS", "UPSTREAM_REMOTE_ADDRESS",
)}  # fmt: skip
# Of these a parameter says how many bits of the address to keep.
MASKABLE = {f"{name}_WITHOUT_PORT": TEXTS[name] for name in (
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS", "DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS", "UPSTREAM_LOCAL_ADDRESS", "UPSTREAM_REMOTE_ADDRESS",
)}  # fmt: skip
TEXTS |= {f"DOWNSTREAM_{side}_{san}_SAN": f"','.join(tls.{side.lower()}_{san.lower()}_sans)"
           for side in ("PEER", "LOCAL") for san in ("URI", "DNS", "IP", "EMAIL", "OTHERNAME")}  # fmt: skip
TEXTS |= {f"UPSTREAM_{side}_{san}_SAN": f"','.join(upstream_tls.{side.lower()}_{san.lower()}_sans)"
           for side in ("PEER", "LOCAL") for san in ("URI", "DNS", "IP")}  # fmt: skip
TEXTS |= {f"DOWNSTREAM_PEER_CHAIN_{name}": f"','.join(tls.peer_chain_{name.lower()})"
           for name in ("FINGERPRINTS_1", "FINGERPRINTS_256", "SERIALS")}  # fmt: skip

# Operators without a parameter that always have a number.
NUMBERS = {
    "BYTES_RECEIVED": "info.bytes_received",
    "BYTES_RETRANSMITTED": "int()",  # counted for QUIC only
    "PACKETS_RETRANSMITTED": "int()",  # as above
    "BYTES_SENT": "info.bytes_sent",
    "CONNECTION_ID": "connection.connection_id",
    "DOWNSTREAM_CX_RTT": "int(connection.round_trip * 1000)",
    "ROUTE_RESOLUTION_COUNT": "info.route_resolutions",
    "REQUEST_HEADERS_BYTES": "request_bytes(info.request)",
    "RESPONSE_CODE": "info.response_code",
    "RESPONSE_HEADERS_BYTES": "response_bytes(info.response)",
    "RESPONSE_TRAILERS_BYTES": "trailer_bytes(info.response_trailers)",
    "UPSTREAM_CONNECTION_ID": "info.upstream_connection_id",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT": "info.attempt_count",
    "DURATION": "int(((info.end or monotonic()) - info.start) * 1000 + 0.0005)",
}
NUMBERS |= {f"{side}_{kind}_BYTES_{way}": f"info.{side.lower()}_{kind.lower()}_bytes_{way.lower()}"
             for side in ("DOWNSTREAM", "UPSTREAM") for kind in ("WIRE", "HEADER", "DECOMPRESSED_HEADER")
             for way in ("RECEIVED", "SENT")}  # fmt: skip

# Operators without a parameter that have a number or None.
OPTIONAL_NUMBERS = {
    "DOWNSTREAM_DIRECT_LOCAL_PORT": "port_of(connection.direct_local_address)",
    "DOWNSTREAM_DIRECT_REMOTE_PORT": "port_of(connection.direct_remote_address)",
    "DOWNSTREAM_HANDSHAKE_DURATION": "signed_millis(info.start, connection.handshake_complete)",
    "DOWNSTREAM_LOCAL_PORT": "port_of(connection.local_address)",
    "DOWNSTREAM_REMOTE_PORT": f"port_of({_REMOTE})",
    "GRPC_STATUS_NUMBER": "grpc_status(info)",
    "ROUTE_RESOLUTION_TIME_US": "(int(info.route_resolution_time * 1_000_000) if info.route_resolutions else None)",
    "REQUEST_DURATION": "millis_between(info.start, info.request_complete)",
    "REQUEST_TX_DURATION": "millis_between(info.start, info.last_upstream_tx)",
    "RESPONSE_DURATION": "millis_between(info.start, info.first_upstream_rx)",
    "RESPONSE_TX_DURATION": "response_time(info)",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION": "millis(info.pool_ready)",
    "UPSTREAM_LOCAL_PORT": "port_of(info.upstream_local_address)",
    "UPSTREAM_REMOTE_PORT": "port_of(info.upstream_remote_address)",
}

# Operators that print a text also when there is nothing, so that it isn't absent.
PRESENT_TEXTS = {
    "CUSTOM_FLAGS": "info.custom_flags",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE": "(connection.detected_close_type or 'Normal')",
    "LOCAL_REPLY_BODY": "info.local_reply_body",
    "RESPONSE_FLAGS": "(info.flags or '-')",
    "RESPONSE_FLAGS_LONG": "(long_flags(info.flags) if info.flags else '-')",
}

# Only internal addresses have an endpoint id.
PRESENT_TEXTS |= {
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID": "endpoint_of(info.connection.direct_local_address)",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID": "endpoint_of(info.connection.local_address)",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID": "endpoint_of(info.upstream_remote_address)",
}
