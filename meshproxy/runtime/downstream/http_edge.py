"""What the connection manager does to a request's head before any filter sees it, and to a response's after all did.

This is the edge of trust: hop-by-hop fields end here, the client's address and scheme are established, control fields
(`x-envoy-*`) of clients that aren't internal are taken out. Rules and order are Envoy's
(ConnectionManagerUtility::mutateRequestHeaders; its documentation: "HTTP header manipulation").

Most requests carry none of the fields concerned, so one set comparison settles nearly everything.
"""

from __future__ import annotations

from meshproxy.absolute_url import is_referer
from meshproxy.address import SocketAddress
from meshproxy.headers import Headers, RequestHeaders, ResponseHeaders
from meshproxy.model.http import HttpConnectionManagerConfig
from meshproxy.model.route import RouteTable
from meshproxy.model.snapshot import Node
from meshproxy.plugin.replies import (
    ABSOLUTE_PATH_REJECTED,
    PATH_NORMALIZATION_FAILED,
    LocalReply,
)
from meshproxy.plugin.stream_info import ConnectionInfo, split_address
from meshproxy.routing.path import PathRedirect, path_sanitizer, unescape_slashes
from meshproxy.runtime.downstream.http_client_address import detect_client, nth_from_end
from meshproxy.runtime.downstream.http_client_certificate import keeps_forwarded

_CONTROL = (
    "x-envoy-retriable-status-codes",
    "x-envoy-retriable-header-names",
    "x-envoy-retry-on",
    "x-envoy-retry-grpc-on",
    "x-envoy-max-retries",
    "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-timeout-ms",
    "x-envoy-upstream-rq-per-try-timeout-ms",
    "x-envoy-upstream-rq-timeout-alt-response",
    "x-envoy-expected-rq-timeout-ms",
    "x-envoy-force-trace",
    "x-envoy-ip-tags",
    "x-envoy-hedge-on-per-try-timeout",
)
_EDGE_ONLY = (
    "x-envoy-decorator-operation",
    "x-envoy-downstream-service-cluster",
    "x-envoy-downstream-service-node",
    "x-envoy-original-path",
    "x-envoy-original-host",
)
_CONTROL_SET = frozenset(_CONTROL)
_SCHEMES = ("http", "https")
_HOP_BY_HOP = ("connection", "keep-alive", "proxy-connection", "upgrade", "http2-settings")
_PLAIN_OPTIONS = frozenset(("close", "keep-alive", "Keep-Alive"))
_REQUEST_SPECIAL = frozenset((*_CONTROL, *_EDGE_ONLY, *_HOP_BY_HOP, "x-envoy-internal", "x-forwarded-client-cert"))
_RESPONSE_SPECIAL = frozenset(("connection", "keep-alive", "proxy-connection", "upgrade"))


class RequestEdge:
    """The request half, compiled for one connection manager."""

    def __init__(self, config: HttpConnectionManagerConfig, node: Node, node_ip: str) -> None:
        self._config = config
        self._node = node
        self._node_ip = node_ip
        self._sanitize_path = path_sanitizer(
            normalize=config.normalize_path,
            merge=config.merge_slashes,
            escaped_slashes=config.path_with_escaped_slashes_action,
            reject_fragment=config.reject_path_with_fragment,
        )
        self._strips_host = (
            config.strip_any_host_port or config.strip_matching_host_port or config.strip_trailing_host_dot
        )
        self.use_routes(config.routes.table)

    def use_routes(self, table: RouteTable) -> None:
        """What the edge does depends on the route table in one thing: the headers it says are for inside only."""
        config = self._config
        self._internal_only = table.internal_only_headers
        self._plain_trust = (
            not config.use_remote_address
            and config.internal_addresses is None
            and not self._internal_only
            and not config.add_user_agent
            and not config.append_x_forwarded_port
            and not config.client_detection
            and config.scheme_of_port is None
        )

    def check_target(self, request: RequestHeaders, info: ConnectionInfo) -> LocalReply | None:
        """Authority and path: refuse, or bring them into the one form that rules are written for."""
        if request.method == "CONNECT":
            if self._config.strip_trailing_host_dot:
                self._strip_host(request, info.local_port)
            return None
        path = request.path
        if not path.startswith("/"):
            return ABSOLUTE_PATH_REJECTED
        clean = self._sanitize_path(path)
        if clean is not path:
            if clean is None:
                if self._config.path_with_escaped_slashes_action == "REJECT_REQUEST":
                    request.path = unescape_slashes(path)  # what Envoy's access log shows
                return PATH_NORMALIZATION_FAILED
            if isinstance(clean, PathRedirect):
                request.path = clean.path
                return LocalReply(307, headers=(("location", clean.path),), details=PATH_NORMALIZATION_FAILED.details)
            request.path = clean
        if self._strips_host:
            self._strip_host(request, info.local_port)
        return None

    def _strip_host(self, request: RequestHeaders, local_port: int) -> None:
        config = self._config
        host = request.authority
        port = ""
        if not host.endswith("]"):
            name, colon, digits = host.rpartition(":")
            if colon and digits.isdigit():
                host, port = name, digits
        if config.strip_trailing_host_dot and host.endswith("."):
            host = host[:-1]
        keeps = not config.strip_any_host_port and not (
            config.strip_matching_host_port and int(port or 0) == local_port
        )
        if port and (keeps or request.method == "CONNECT"):  # whose authority isn't one without a port
            host = f"{host}:{port}"
        request.authority = host

    def mutate(
        self, request: RequestHeaders, info: ConnectionInfo, upgrading: bool
    ) -> tuple[bool, str] | LocalReply | None:
        """Clean and complete the head. Returns whether the request is internal, and the client's address if
        it was found to be another than the connection's, else ""; None when there is nothing of both; a reply with
        which the request is refused.

        upgrading: the request asks for an upgrade that may be granted, so `connection` and `upgrade` stay.
        """
        fields = request.fields
        config = self._config
        if not upgrading and fields.get("connection") in _PLAIN_OPTIONS and not request.repeated:
            del fields["connection"]  # many a request has nothing else that must go
        special = not _REQUEST_SPECIAL.isdisjoint(fields)
        if "te" in fields and (fields["te"] != "trailers" or request.repeated):  # as it is, every call of gRPC has it
            special = True
        if special:
            request.remove("x-envoy-internal")
            self._strip_hop_by_hop(request, upgrading)
            if not keeps_forwarded(config.forward_client_cert_details, info):
                request.remove("x-forwarded-client-cert")
        if "referer" in fields and not is_referer(fields["referer"]):
            request.remove("referer")
        if self._plain_trust and "x-forwarded-for" not in fields:
            if special:
                self._strip_control(request, edge=False)
            if "x-forwarded-proto" not in fields:
                fields["x-forwarded-proto"] = "https" if info.transport == "tls" else "http"
            if config.via:
                self._add_via(request)
            trust: tuple[bool, str] | LocalReply | None = None
        else:
            trust = self._establish_client(request, info)
            if isinstance(trust, LocalReply):
                return trust
        self._set_scheme(request, info)
        return trust

    def _add_via(self, request: RequestHeaders) -> None:
        via = request.get("via")
        request["via"] = f"{via}, {self._config.via}" if via else self._config.via

    def _set_scheme(self, request: RequestHeaders, info: ConnectionInfo) -> None:
        """The request's scheme is what the configuration says, else the client (`:scheme`, or an absolute-form), else
        X-Forwarded-Proto, else the transport."""
        fields = request.fields
        if self._config.scheme_to_overwrite:
            request.scheme = fields["x-forwarded-proto"] = self._config.scheme_to_overwrite
        elif request.scheme not in _SCHEMES:
            proto = fields["x-forwarded-proto"]
            if proto not in _SCHEMES:
                proto = proto.lower()
            request.scheme = proto if proto in _SCHEMES else "https" if info.transport == "tls" else "http"

    def _strip_hop_by_hop(self, request: RequestHeaders, upgrading: bool) -> None:
        fields = request.fields
        connection = fields.get("connection")
        names_te = False
        if connection is not None and not upgrading:
            for option in request["connection"].split(","):
                name = option.strip(" \t").lower()
                if name == "te":
                    names_te = True
                elif name and name != "close":
                    request.remove(name)
        te = request.get("te")
        if te is not None and not upgrading and (te or names_te):
            if names_te:
                te = te.lower()  # as Envoy, which looks for the very word unless Connection names the field
            if any(part.strip(" \t") == "trailers" for part in te.split(",")):
                request["te"] = "trailers"
            else:
                request.remove("te")
        request.remove("keep-alive")
        request.remove("proxy-connection")
        if not upgrading:
            request.remove("connection")
            request.remove("upgrade")

    def _strip_control(self, request: RequestHeaders, *, edge: bool) -> None:
        if not _CONTROL_SET.isdisjoint(request.fields):
            for name in _CONTROL:
                request.remove(name)
        if edge:
            for name in _EDGE_ONLY:
                request.remove(name)
        for name in self._internal_only:
            request.remove(name)

    def _add_user_agent(self, request: RequestHeaders) -> None:
        """`add_user_agent`: say who we are (Envoy's "Config HTTP conn man header manipulation", `user-agent`)."""
        request["x-envoy-downstream-service-cluster"] = self._node.cluster
        if not request.get("user-agent"):
            request["user-agent"] = self._node.cluster
        if self._node.id:
            request["x-envoy-downstream-service-node"] = self._node.id

    def _append_peer(self, request: RequestHeaders, peer: str) -> None:
        entry = self._node_ip if peer in ("127.0.0.1", "::1") else peer
        if self._config.shows_ipv4_as_ipv6 and entry is peer and ":" not in peer:
            entry = f"::ffff:{peer}"
        forwarded = request.get("x-forwarded-for")
        request["x-forwarded-for"] = f"{forwarded},{entry}" if forwarded else entry

    def _is_internal(self, client: str) -> bool:
        """client: an address, the path of a Unix socket, or "" for none: a Unix socket without one, or nobody known."""
        config = self._config
        if not client or client.startswith(("/", "@")):
            return config.use_remote_address and config.internal_unix_sockets
        return config.internal_addresses is not None and client in config.internal_addresses

    def _establish_client(self, request: RequestHeaders, info: ConnectionInfo) -> tuple[bool, str] | LocalReply:
        """X-Forwarded-For, X-Forwarded-Proto, and whether the client is internal."""
        config = self._config
        fields = request.fields
        forwarded = request.get("x-forwarded-for")
        transport_scheme = "https" if info.transport == "tls" else "http"
        if config.scheme_of_port is not None and info.original_destination is not None:
            transport_scheme = config.scheme_of_port.get(info.original_destination[1], transport_scheme)
        peer = split_address(info.remote_address)[0]
        if config.use_remote_address:
            single = forwarded is None
            if config.xff_num_trusted_hops == 0:
                client = peer
            else:
                client = nth_from_end(forwarded, config.xff_num_trusted_hops - 1) or peer
            if not config.skip_xff_append and peer:
                self._append_peer(request, peer)
            if config.xff_num_trusted_hops == 0 or "x-forwarded-proto" not in fields:
                request["x-forwarded-proto"] = transport_scheme
        elif config.client_detection:
            found = detect_client(config.client_detection, request, peer)
            if found.reply is not None:
                return found.reply
            client, single = found.client, found.trusted
            for _ in range(found.appended if peer else 0):
                self._append_peer(request, peer)
        else:
            client = nth_from_end(forwarded, config.xff_num_trusted_hops)
            single = forwarded is not None and "," not in forwarded
        if "x-forwarded-proto" not in fields:
            fields["x-forwarded-proto"] = transport_scheme
        overwrites = config.use_remote_address and config.xff_num_trusted_hops == 0
        if config.append_x_forwarded_port and (overwrites or "x-forwarded-port" not in fields):
            request["x-forwarded-port"] = str(info.local_port)
        internal = single and self._is_internal(client)
        remote = ""
        if client and client != peer:
            remote = SocketAddress(client, 0).text
        edge = config.use_remote_address and not internal
        if internal:
            fields["x-envoy-internal"] = "true"
        else:
            self._strip_control(request, edge=edge)
        if config.add_user_agent:
            self._add_user_agent(request)
        if config.via:
            self._add_via(request)
        if edge and (client or peer):
            request["x-envoy-external-address"] = client or peer
        return internal, remote


def strip_response(response: ResponseHeaders, *, upgraded: bool) -> None:
    """Take the upstream connection's own fields out of a response."""
    fields = response.fields
    if not upgraded and not response.repeated:
        fields.pop("connection", None)
        fields.pop("keep-alive", None)
        fields.pop("proxy-connection", None)
        fields.pop("upgrade", None)
    elif not _RESPONSE_SPECIAL.isdisjoint(fields):
        response.remove("keep-alive")
        response.remove("proxy-connection")
        if not upgraded:
            response.remove("connection")
            response.remove("upgrade")


def is_grpc(headers: Headers) -> bool:
    """Whether a message is gRPC, by its content type."""
    content_type = headers.fields.get("content-type", "")
    return content_type.startswith("application/grpc") and content_type[16:17] in ("", "+")
