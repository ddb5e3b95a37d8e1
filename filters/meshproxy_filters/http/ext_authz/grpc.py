"""The gRPC service that authorises requests (`envoy.service.auth.v3.Authorization/Check`).

It is told everything about the request: who asks, over which connection, all fields with repeated ones joined
(CVE-2021-32777), and what the configuration adds. Bytes that are no UTF-8, which a protobuf text can't hold, become "!"
as in Envoy: the service decides on what it sees and never on less (CVE-2023-27488).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.message import DecodeError

from meshproxy.headers import Headers, RequestHeaders, check_name, check_value
from meshproxy.matching import wire_text
from meshproxy.model.grpc_service import GrpcService
from meshproxy.plugin.context import FactoryContext, GrpcError, Stream
from meshproxy.plugin.struct_view import plain_struct
from meshproxy.records import dataclass
from meshproxy_filters.authorization_peers import peer_of, principal_of, tell_metadata
from meshproxy_filters.http.ext_authz.service import Change, Names, Verdict
from meshproxy_filters.mutation_rules import PSEUDO, MutationRules, read_mutation_rules, set_pseudo

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

_METHOD = "/envoy.service.auth.v3.Authorization/Check"
_TIMEOUT = 0.2
_FORBIDDEN = 403
APPEND, ADD_IF_ABSENT, OVERWRITE, OVERWRITE_IF_EXISTS, JOIN = range(5)
"""`HeaderAppendAction`, and one more: to the value that is there, and only if one is."""


@dataclass(frozen=True, slots=True, eq=False)
class GrpcAuthorization:
    """extensions: `context_extensions`. pack: the body goes as bytes, not as text. certificate, session: tell them.

    namespaces, route_namespaces: of the metadata that it is told. raw: fields are told as bytes, each by itself.
    rules: what it may change of a request; None for anything. validates: a field that can't be is an error.
    labels: of this end.
    """

    service: GrpcService
    pack: bool = False
    certificate: bool = False
    session: bool = False
    namespaces: tuple[str, ...] = ()
    route_namespaces: tuple[str, ...] = ()
    extensions: Mapping[str, str] | None = None
    raw: bool = False
    rules: MutationRules | None = None
    validates: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> Names:
        """Which fields it is told where nothing else is configured: all."""
        return _all

    async def decide(
        self, stream: Stream, body: bytes, partial: bool | None, asked: Names | None, context: FactoryContext
    ) -> Verdict:
        """Ask about the stream's request. partial: there may be more of the body; None where none is sent. asked: which
        fields it is told."""
        began = context.clock.now()
        question = CheckRequest()
        self._describe(question.attributes, stream, body, partial, asked or _all)
        try:
            answer = await stream.call_grpc(self.service, _METHOD, question.SerializeToString())
            response = CheckResponse.FromString(answer)
        except (GrpcError, DecodeError):
            return Verdict(None)
        verdict = self._read_answer(response)
        verdict.milliseconds = int((context.clock.now() - began) * 1000)
        return verdict

    def _read_answer(self, response: Any) -> Verdict:
        metadata = list(plain_struct(response.dynamic_metadata).items())
        if response.status.code == 0:
            return self._allowance(response.ok_response, metadata)
        if response.WhichOneof("http_response") == "error_response":
            error = response.error_response
            status = error.status.code
            headers = [(name, value) for _, name, value in _changes(error.headers)[0]]
            return Verdict(None, status if 200 <= status <= 999 else 0, headers, error.body.encode())
        return _denial(response.denied_response, metadata, self.validates)

    def _allowance(self, ok: Any, metadata: list[tuple[str, Any]]) -> Verdict:
        if ok.HasField("dynamic_metadata"):
            metadata = list(plain_struct(ok.dynamic_metadata).items())
        changes, bad = _changes(ok.headers, request=True)
        for_client, bad_for_client = _changes(ok.response_headers_to_add)
        if self.validates and (bad or bad_for_client):
            return Verdict(True, invalid=True)
        removed = [name.lower() for name in ok.headers_to_remove if name]
        rules = self.rules
        if rules is not None:
            allowed = [each for each in changes if rules.may_set(each[1])]
            may_go = [name for name in removed if rules.may_remove(name)]
            if rules.fails and (len(allowed) < len(changes) or len(may_go) < len(removed)):
                return Verdict(True, invalid=True)
            changes, removed = allowed, may_go
        return Verdict(
            True,
            changes=changes,
            to_remove=[name for name in removed if not name.startswith(":") and name != "host"],
            client_changes=for_client,
            metadata=metadata,
            query_to_set=[(each.key, each.value) for each in ok.query_parameters_to_set],
            query_to_remove=list(ok.query_parameters_to_remove),
            unwritable=bad,
        )

    def _describe(self, told: Any, stream: Stream, body: bytes, partial: bool | None, asked: Names) -> None:
        """Fill an `AttributeContext`."""
        connection, request = stream.connection, stream.request
        tls = connection.tls
        # The connection's peer, whatever X-Forwarded-For says of the client.
        told.source.CopyFrom(peer_of(connection.remote_address, principal_of(tls, peer=True)))
        told.destination.CopyFrom(peer_of(connection.local_address, principal_of(tls, peer=False)))
        told.destination.labels.update(self.labels)
        service = request.get("x-envoy-downstream-service-cluster")
        if service:
            told.source.service = _text(service)
        if self.certificate and tls is not None:
            told.source.certificate = tls.peer_certificate
        if self.session:
            told.tls_session.SetInParent()
            if tls is not None:
                told.tls_session.sni = connection.requested_server_name
        asking = told.request
        asking.time.seconds, asking.time.nanos = divmod(int(stream.start_wall * 1e9), 10**9)
        http = asking.http
        self._tell_request(http, stream, request, body, asked)
        if partial is not None:
            _tell(http, self.raw, "x-envoy-auth-partial-body", "true" if partial else "false")
        for key, value in (self.extensions or {}).items():
            told.context_extensions[key] = value
        tell_metadata(told.metadata_context, stream.dynamic_metadata, self.namespaces)
        route = stream.route
        tell_metadata(told.route_metadata_context, route.metadata if route is not None else None, self.route_namespaces)

    def _tell_request(self, told: Any, stream: Stream, request: RequestHeaders, body: bytes, asked: Names) -> None:
        told.id = str(stream.connection.connection_id)
        told.method = request.method
        told.path = _text(request.path)
        told.host = _text(request.authority)
        told.scheme = request.scheme
        told.protocol = stream.protocol
        told.size = stream.bytes_received if body else 0
        pseudo = [(":authority", request.authority), (":path", request.path)]
        pseudo += [(":method", request.method), (":scheme", request.scheme)]
        every = asked is _all
        if self.raw:
            for name, value in (*pseudo, *request.items()):
                if every or asked(name):
                    _tell(told, True, name, value)
        else:
            headers = told.headers
            for name, value in (*pseudo, *request.joined_items()):
                if every or asked(name):
                    headers[name] = value if value.isascii() else _text(value)
        self._tell_body(told, body)

    def _tell_body(self, told: Any, body: bytes) -> None:
        if body:
            if self.pack:
                told.raw_body = body
            else:
                told.body = body.decode("utf-8", "replace").replace("\ufffd", "!")


def _tell(told: Any, raw: bool, name: str, value: str) -> None:
    if raw:
        told.header_map.headers.add(key=name, raw_value=value.encode("latin-1"))
    else:
        told.headers[name] = _text(value)


def _all(name: str) -> bool:
    return True


def _text(value: str) -> str:
    """Text of the wire (Latin-1) as a protobuf text: UTF-8, each byte of anything else as "!"."""
    if value.isascii():
        return value
    return value.encode("latin-1").decode("utf-8", "surrogateescape").translate(_ESCAPED)


_ESCAPED = dict.fromkeys(range(0xDC80, 0xDD00), "!")


def _denial(denied: Any, metadata: list[tuple[str, Any]], validates: bool) -> Verdict:
    headers, bad = _changes(denied.headers)
    status = denied.status.code
    status = status if 200 <= status <= 999 else _FORBIDDEN
    if bad and validates:
        return Verdict(False, status, metadata=metadata, invalid=True)
    return Verdict(
        False,
        status,
        [(name, value) for _, name, value in headers],
        denied.body.encode(),
        metadata=metadata,
    )


def _changes(options: Any, *, request: bool = False) -> tuple[list[Change], str]:
    """`HeaderValueOption` messages, and the name of one that can't stand in a head, such being left out.

    request: only `append` counts, as in Envoy, and pseudo-fields may be set.
    """
    changes: list[Change] = []
    bad = ""
    for option in options:
        name, value = option.header.key.lower(), wire_text(option.header.value)
        action = OVERWRITE if request else option.append_action
        if option.HasField("append"):
            action = (JOIN if request else APPEND) if option.append.value else OVERWRITE
        try:
            if not (request and name in PSEUDO):
                check_name(name)
            check_value(value)
        except ValueError:
            bad = name
            continue
        changes.append((action, name, value))
    return changes, bad


def change(message: Headers, changes: Sequence[Change]) -> None:
    """Make the changes to a head (`HeaderValueOption.HeaderAppendAction`)."""
    for action, name, value in changes:
        if name in PSEUDO and isinstance(message, RequestHeaders):
            set_pseudo(message, name, value)
            continue
        there = name in message
        if action == JOIN:
            if there:
                first, *others = message.get_all(name)
                message[name] = f"{first},{value}"
                for each in others:
                    message.append_checked(name, each)
            continue
        if (action == ADD_IF_ABSENT and there) or (action == OVERWRITE_IF_EXISTS and not there):
            continue
        if action in (OVERWRITE, OVERWRITE_IF_EXISTS):
            message.remove(name)
            message.append_checked(name, value)
        else:
            message.append_checked(name, value)


_AS_IT_IS = "".join(map(chr, range(0x21, 0x7F)))
"""What no path can hold is encoded; the rest is the service's to encode, as in Envoy."""


def set_query(path: str, to_set: Sequence[tuple[str, str]], to_remove: Sequence[str]) -> str:
    """`path` with these query parameters set and removed; the others stay as they are written."""
    base, _, query = path.partition("?")
    gone = {*to_remove, *(key for key, _ in to_set)}
    kept = [pair for pair in query.split("&") if pair and pair.partition("=")[0] not in gone]
    kept += [f"{quote(key, safe=_AS_IT_IS)}={quote(value, safe=_AS_IT_IS)}" for key, value in to_set]
    return f"{base}?{'&'.join(kept)}" if kept else base


def read_grpc_authorization(view: ConfigView, settings: ConfigView, context: FactoryContext) -> GrpcAuthorization:
    """`grpc_service` of ExtAuthz (`settings`, with what the service is told) or of a route. Raises ConfigError."""
    service = context.compile_grpc_service(view)
    service = replace(service, timeout=service.timeout or _TIMEOUT)
    if settings.full_name.endswith("CheckSettings"):
        return GrpcAuthorization(service)
    rules = settings.view("decoder_header_mutation_rules")
    body = settings.view("with_request_body")
    return GrpcAuthorization(
        service,
        pack=body.boolean("pack_as_bytes") if body is not None else False,
        certificate=settings.boolean("include_peer_certificate"),
        session=settings.boolean("include_tls_session"),
        raw=settings.boolean("encode_raw_headers"),
        rules=read_mutation_rules(rules, context) if rules is not None else None,
        validates=settings.boolean("validate_mutations"),
        namespaces=tuple(settings.texts("metadata_context_namespaces")),
        route_namespaces=tuple(settings.texts("route_metadata_context_namespaces")),
        labels=_labels(settings.text("bootstrap_metadata_labels_key"), context),
    )


def _labels(key: str, context: FactoryContext) -> dict[str, str]:
    """What the node's metadata has under this key; "" for none."""
    known = context.node.metadata.get(key) if key else None
    if not isinstance(known, dict):
        return {}
    return {name: value if isinstance(value, str) else "" for name, value in known.items()}  # as Envoy
