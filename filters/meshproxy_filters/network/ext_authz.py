"""`envoy.filters.network.ext_authz`: lets a connection pass if a service, asked over gRPC, allows it.

As in Envoy the service is asked when the first bytes come, and they wait for its verdict. A service that can't be asked
refuses the connection, unless `failure_mode_allow`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from envoy.service.auth.v3.attribute_context_pb2 import AttributeContext
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.message import DecodeError

from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.context import Connection, FactoryContext, GrpcError
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.stats import Counter, Gauge
from meshproxy.plugin.struct_view import plain_struct
from meshproxy.records import dataclass
from meshproxy_filters.authorization_peers import peer_of, principal_of, tell_metadata

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_METHOD = "/envoy.service.auth.v3.Authorization/Check"
_NAMESPACE = "envoy.filters.network.ext_authz"
_TIMEOUT = 0.2


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """`ext_authz.<prefix>.`."""

    total: Counter
    error: Counter
    denied: Counter
    failure_mode_allowed: Counter
    ok: Counter
    disabled: Counter
    cx_closed: Counter
    active: Gauge


@dataclass(frozen=True, slots=True, eq=False)
class ExtAuthzConfig:
    """wanted: whether a connection with this metadata is asked about. labels: of this end. certificate, session: tell
    the service of them. namespaces: of the metadata that it is told."""

    stats: Statistics
    service: GrpcService
    failure_allowed: bool
    wanted: Callable[[Mapping[str, Any] | None], bool] | None
    labels: Mapping[str, str]
    certificate: bool
    session: bool
    namespaces: tuple[str, ...]


class ExtAuthz(NetworkFilter[ExtAuthzConfig]):
    """See the module."""

    _decided: bool = False

    @classmethod
    def compile(cls, view: ConfigView, context: FactoryContext) -> ExtAuthzConfig:
        if view.enum("transport_api_version") == "V2":
            view.fail("the second version of the API is no more", "transport_api_version")
        if view.boolean("send_tls_alert_on_denial"):
            view.fail("alerts of our choosing can't be sent by meshproxy", "send_tls_alert_on_denial")
        service = context.compile_grpc_service(view.required("grpc_service"))
        wanted = view.view("filter_enabled_metadata")
        return ExtAuthzConfig(
            stats=_statistics(view.text("stat_prefix"), context),
            service=replace(service, timeout=service.timeout or _TIMEOUT),
            failure_allowed=view.boolean("failure_mode_allow"),
            wanted=context.compile_metadata_matcher(wanted) if wanted is not None else None,
            labels=_labels(context.node.metadata, view.text("bootstrap_metadata_labels_key")),
            certificate=view.boolean("include_peer_certificate"),
            session=view.boolean("include_tls_session"),
            namespaces=tuple(view.texts("metadata_context_namespaces")),
        )

    def on_data(self, data: bytes, end: bool, connection: Connection) -> Awaitable[bytes | None] | None:
        if self._decided:
            return None
        self._decided = True
        config = self.config
        if config.wanted is not None and not config.wanted(connection.stream.dynamic_metadata):
            config.stats.disabled.value += 1
            return None
        return self._ask(data, connection)

    async def _ask(self, data: bytes, connection: Connection) -> bytes | None:
        stats = self.config.stats
        began = connection.clock.now()
        stats.total.value += 1
        stats.active.value += 1
        question = CheckRequest(attributes=self._attributes(connection))
        try:
            answer = await connection.call_grpc(self.config.service, _METHOD, question.SerializeToString())
            response: Any = CheckResponse.FromString(answer)
        except (GrpcError, DecodeError):
            return self._failed(data, connection)
        finally:
            stats.active.value -= 1
        noted = plain_struct(response.dynamic_metadata)
        for key, value in noted.items():
            connection.stream.set_metadata(_NAMESPACE, key, value)
        if response.status.code == 0:
            stats.ok.value += 1
            duration = int((connection.clock.now() - began) * 1000)
            connection.stream.set_metadata(_NAMESPACE, "ext_authz_duration", duration)
            return None
        stats.denied.value += 1
        return self._refuse("ext_authz_denied", data, connection)

    def _failed(self, data: bytes, connection: Connection) -> bytes | None:
        self.config.stats.error.value += 1
        if self.config.failure_allowed:
            self.config.stats.failure_mode_allowed.value += 1
            return None
        return self._refuse("ext_authz_error", data, connection)

    def _refuse(self, details: str, data: bytes, connection: Connection) -> bytes:
        stream = connection.stream
        stream.bytes_received += len(data)  # nobody behind us will count them
        stream.add_flag("UAEX")
        stream.details = details
        connection.info.local_close_reason = "ext_authz_close"
        self.config.stats.cx_closed.value += 1
        connection.close()
        return b""

    def _attributes(self, connection: Connection) -> AttributeContext:
        config, info = self.config, connection.info
        told = AttributeContext()
        told.source.CopyFrom(peer_of(info.remote_address, principal_of(info.tls, peer=True)))
        told.destination.CopyFrom(peer_of(info.local_address, principal_of(info.tls, peer=False)))
        for key, value in config.labels.items():
            told.destination.labels[key] = value
        if config.certificate and info.tls is not None:
            told.source.certificate = info.tls.peer_certificate
        if config.session and info.tls is not None:
            told.tls_session.sni = info.requested_server_name
        tell_metadata(told.metadata_context, connection.stream.dynamic_metadata, config.namespaces)
        return told


def _labels(metadata: Mapping[str, Any], key: str) -> dict[str, str]:
    found = metadata.get(key) if key else None
    return {name: value for name, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}


def _statistics(prefix: str, context: FactoryContext) -> Statistics:
    scope = context.root_stats.scope(f"ext_authz.{prefix}.")
    return Statistics(
        total=scope.counter("total"),
        error=scope.counter("error"),
        denied=scope.counter("denied"),
        failure_mode_allowed=scope.counter("failure_mode_allowed"),
        ok=scope.counter("ok"),
        disabled=scope.counter("disabled"),
        cx_closed=scope.counter("cx_closed"),
        active=scope.gauge("active"),
    )
