"""gRPC services that are named by their address (envoy.config.core.v3.GrpcService.GoogleGrpc).

Envoy has a second client for these, the gRPC library, with connections of its own. Here the one client serves both, so
such a service gets a cluster of its own, as somebody would have written it: HTTP/2 to the address of `target_uri`, with
TLS where there are `ssl_credentials`. Two services that say the same share it.
"""

from __future__ import annotations

import re
from typing import Any

from meshproxy.address import is_ip
from meshproxy.config.values.context import CompileContext
from meshproxy.hashing import xxhash64
from meshproxy.messages.by_name import message_class
from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.view import ConfigView

_CLUSTER = "envoy.config.cluster.v3.Cluster"
_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
_TLS = "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_TYPE = "type.googleapis.com/"
_PORT = 443
_MAX_MESSAGE = 4 * 1024 * 1024
_MESSAGE_ARGUMENT = "grpc.max_receive_message_length"
# gRPC's naming: an address, or a scheme before it; a name of DNS may name its server, which is for us to know.
_TARGET = re.compile(r"(?:dns:(?:///)?|ipv4:|ipv6:)?(\[[^\]]+\]|[^:/\[\]]+)(?::([0-9]{1,5}))?\Z")
_PIPE = re.compile(r"unix:(?://(?=/))?(.+)\Z")


def compile_google_grpc(view: ConfigView, context: CompileContext) -> GrpcService:
    """One service; its cluster is noted in the context. Raises ConfigError."""
    packed = view.peek().SerializeToString(deterministic=True)
    target, prefix = view.text("target_uri"), view.text("stat_prefix")
    address, authority = _address(view, target)
    transport = _transport(view, authority)
    metadata = _call_credentials(view)
    limit = _message_limit(view)
    view.integer("per_stream_buffer_limit_bytes")  # as of every stream of ours, the windows of HTTP/2 bound it
    name = f"google_grpc_{prefix}_{xxhash64(packed):016x}"
    own = context.own_clusters.get(name)
    if own is None:
        own = context.own_clusters[name] = context.compile_own_cluster(_cluster(name, address, transport), context)
    return GrpcService(
        cluster=name,
        authority=authority,
        initial_metadata=metadata,
        max_message=limit,
        skip_envoy_headers=True,
        own=own,
    )


def _address(view: ConfigView, target: str) -> tuple[dict[str, Any], str]:
    """Where `target_uri` leads, as an envoy.config.core.v3.Address, and the authority of its requests."""
    pipe = _PIPE.match(target)
    if pipe is not None:
        return {"pipe": {"path": pipe[1]}}, "localhost"
    found = _TARGET.match(target)
    if found is None or int(found[2] or _PORT) > 65535:
        view.fail(f"'{target}' is no address, dns:NAME, ipv4:, ipv6: or unix: target", "target_uri")
    host, port = found[1], int(found[2] or _PORT)
    address = {"address": host.strip("[]"), "port_value": port}
    return {"socket_address": address}, host if found[2] is None else f"{host}:{port}"


def _transport(view: ConfigView, authority: str) -> dict[str, Any] | None:
    """The `transport_socket` of the cluster; None for plain text."""
    for name in ("credentials_factory_name", "config", "channel_credentials_plugin", "call_credentials_plugin"):
        if view.has(name):
            view.fail("credentials of extensions aren't supported by meshproxy", name)
    credentials = view.view("channel_credentials")
    if credentials is None:
        return None
    kind = credentials.which("credential_specifier")
    if kind == "local_credentials":
        credentials.view(kind)
        return None
    if kind != "ssl_credentials":
        credentials.fail("only ssl_credentials and local_credentials are supported by meshproxy", kind or "")
    ssl = credentials.required(kind)
    if not ssl.has("root_certs"):
        ssl.fail("root_certs are needed; there is no list of roots that the gRPC library would bring", "root_certs")
    host = authority.rpartition(":")[0] if authority.rpartition(":")[2].isdigit() else authority
    host = host.strip("[]")
    names = [{"san_type": "IP_ADDRESS" if is_ip(host) else "DNS", "matcher": {"exact": host}}]
    common: dict[str, Any] = {
        "validation_context": {"trusted_ca": _source(ssl, "root_certs"), "match_typed_subject_alt_names": names}
    }
    if ssl.has("private_key") or ssl.has("cert_chain"):
        pair = {"certificate_chain": _source(ssl, "cert_chain"), "private_key": _source(ssl, "private_key")}
        common["tls_certificates"] = [pair]
    typed = {"@type": _TYPE + _TLS, "common_tls_context": common, **({} if is_ip(host) else {"sni": host})}
    return {"name": "tls", "typed_config": typed}


def _source(view: ConfigView, name: str) -> dict[str, Any]:
    """A DataSource as it stands; whoever reads it says what is wrong with it."""
    from google.protobuf import json_format  # few speak google_grpc

    shown: dict[str, Any] = json_format.MessageToDict(view.required(name).raw(), preserving_proto_field_name=True)
    return shown


def _call_credentials(view: ConfigView) -> tuple[tuple[str, str], ...]:
    fields = []
    for credentials in view.views("call_credentials"):
        if credentials.which("credential_specifier") != "access_token":
            credentials.fail("only access_token is supported by meshproxy")
        fields.append(("authorization", f"Bearer {credentials.text('access_token')}"))
    return tuple(fields)


def _message_limit(view: ConfigView) -> int:
    arguments = view.view("channel_args")
    limit = _MAX_MESSAGE
    for name, value in (arguments.view_map("args") if arguments is not None else {}).items():
        if name != _MESSAGE_ARGUMENT:
            value.fail(f"the argument '{name}' isn't supported by meshproxy; {_MESSAGE_ARGUMENT} is")
        limit = value.integer("int_value")
    return 0 if limit < 0 else limit


def _cluster(name: str, address: dict[str, Any], transport: dict[str, Any] | None) -> Any:
    """The cluster as a message."""
    name_or_ip = address.get("socket_address", {}).get("address", "")
    described: dict[str, Any] = {
        "name": name,
        "type": "STATIC" if is_ip(name_or_ip) or not name_or_ip else "STRICT_DNS",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            _OPTIONS: {"@type": _TYPE + _OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}
        },
    }
    if transport is not None:
        described["transport_socket"] = transport
    for packed in (_OPTIONS, _TLS):
        message_class(packed)  # to be packed by name
    from google.protobuf import json_format

    kind = message_class(_CLUSTER)
    assert kind is not None
    return json_format.ParseDict(described, kind())
