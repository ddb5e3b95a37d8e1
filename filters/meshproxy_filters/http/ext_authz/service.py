"""The HTTP service that authorises requests (ext_authz.v3.HttpService): what it is asked, and what it means.

It is asked with the request's own method, path, host and authorization, and with those other fields that the
configuration names; never with fields that belong to one hop. Repeated fields are joined, so that it sees all that
the upstream will see (CVE-2021-32777).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from meshproxy.headers import Headers, RequestHeaders
from meshproxy.model.route import HeaderMutations
from meshproxy.plugin.context import FactoryContext, FetchError, FetchReply, Stream
from meshproxy.plugin.mutations import apply_mutations
from meshproxy.plugin.stream_info import StateFields
from meshproxy.records import dataclass
from meshproxy_filters.http.asking import Service, read_retries, read_service

if TYPE_CHECKING:
    from meshproxy.plugin.view import ConfigView

Change = tuple[int, str, str]
"""How (`HeaderAppendAction`), which field, and its value."""

Names = Callable[[str], bool]
"""Whether a field, by its lower-case name, is meant."""

_ONE_HOP = frozenset(
    ("connection", "content-length", "host", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade")
)
_REMOVE = "x-envoy-auth-headers-to-remove"
_ALWAYS_TO_CLIENT = frozenset(("www-authenticate", "location"))
_PARTIAL = "x-envoy-auth-partial-body"
_SERVICE_TIME = "x-envoy-upstream-service-time"


@dataclass(frozen=True, slots=True)
class TimeTaken(StateFields):
    """What `emit_filter_state_stats` leaves for the access log."""

    latency_us: int


@dataclass(slots=True)
class Verdict:
    """What the service said. allowed: None when it said nothing that could be used.

    status, headers, body: for the client of a request that isn't allowed; status 0 where the service says none.
    to_set, to_add, to_remove: fields of the request. to_client: fields to add to the response.
    changes, client_changes: what a gRPC service says of fields of the request, and of the response.
    query_to_set, query_to_remove: parameters of its query. milliseconds: how long the answer took.
    invalid: it asks for what it may not. unwritable: the field that it has a value for which no head can hold.
    """

    allowed: bool | None
    status: int = 0
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    to_set: Sequence[tuple[str, str]] = ()
    to_add: Sequence[tuple[str, str]] = ()
    to_remove: Sequence[str] = ()
    to_client: Sequence[tuple[str, str]] = ()
    metadata: Sequence[tuple[str, Any]] = ()
    changes: Sequence[Change] = ()
    client_changes: Sequence[Change] = ()
    query_to_set: Sequence[tuple[str, str]] = ()
    query_to_remove: Sequence[str] = ()
    milliseconds: int = 0
    invalid: bool = False
    unwritable: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class AuthorizationService:
    """The service, and which fields go there and come back. mutations: added to what it is asked."""

    service: Service
    path_prefix: str
    mutations: tuple[HeaderMutations, ...]
    asked: Names
    to_upstream: Names
    to_upstream_appended: Names
    to_client: Names | None
    to_client_on_success: Names
    to_metadata: Names

    async def decide(
        self, stream: Stream, body: bytes, partial: bool | None, asked: Names | None, context: FactoryContext
    ) -> Verdict:
        """Ask about the stream's request. partial: there may be more of the body; None where none is sent. asked: in
        place of the service's own choice of fields."""
        request = stream.request
        headers = self._headers(request, body, asked or self.asked)
        if partial is not None:
            headers.fields[_PARTIAL] = "true" if partial else "false"
        apply_mutations(self.mutations, headers, stream)
        began = context.clock.now()
        try:
            reply = await self.service.ask(
                stream,
                context,
                request.method,
                self.path_prefix + request.path,
                list(headers.items()),
                body,
                request.authority,
                tell_address=False,
            )
        except FetchError:
            return Verdict(None)
        if reply.status >= 500:
            return Verdict(None)
        milliseconds = int((context.clock.now() - began) * 1000)
        # Envoy's own client notes it in the answer, and it goes wherever the answer's fields go.
        reply.headers.fields[_SERVICE_TIME] = str(milliseconds)
        return self._allowance(reply, milliseconds) if reply.status == 200 else self._refusal(reply, milliseconds)

    def _headers(self, request: RequestHeaders, body: bytes, asked: Names) -> Headers:
        headers = Headers()
        headers.fields["content-length"] = str(len(body))
        for name in request.fields if not request.repeated else dict.fromkeys(request):
            if name not in _ONE_HOP and asked(name):
                separator = "; " if name == "cookie" else ","
                headers.fields[name] = separator.join(request.get_all(name))
        return headers

    def _allowance(self, reply: FetchReply, milliseconds: int) -> Verdict:
        fields = [(name, value) for name, value in reply.headers.items() if name not in _ONE_HOP]
        removed = [name.strip(" \t").lower() for line in reply.headers.get_all(_REMOVE) for name in line.split(",")]
        return Verdict(
            True,
            to_set=[field for field in fields if self.to_upstream(field[0])],
            to_add=[field for field in fields if self.to_upstream_appended(field[0])],
            to_remove=[name for name in removed if name and not name.startswith(":") and name != "host"],
            to_client=[field for field in fields if self.to_client_on_success(field[0])],
            metadata=[field for field in fields if self.to_metadata(field[0])],
            milliseconds=milliseconds,
        )

    def _refusal(self, reply: FetchReply, milliseconds: int) -> Verdict:
        meant = self.to_client
        headers = []
        for name, value in reply.headers.items():
            if name in ("content-length", "content-type") and not reply.body:
                continue
            if name == "content-length":
                headers.append((name, value))  # for its place: what it says is said anew of what is sent
            elif name not in _ONE_HOP and (meant is None or name in _ALWAYS_TO_CLIENT or meant(name)):
                headers.append((name, value))
        return Verdict(
            False,
            reply.status,
            headers,
            reply.body,
            metadata=[field for field in reply.headers.items() if self.to_metadata(field[0])],
            milliseconds=milliseconds,
        )


def read_authorization_service(view: ConfigView, context: FactoryContext) -> AuthorizationService:
    """`HttpService`. Raises ConfigError."""
    request = view.view("authorization_request")
    response = view.view("authorization_response")
    prefix = view.text("path_prefix")
    if prefix and not prefix.startswith("/"):
        view.fail("it must begin with '/'", "path_prefix")

    def of_response(field: str) -> Names | None:
        return read_names(response, field, context) if response is not None else None

    client = of_response("allowed_client_headers")
    return AuthorizationService(
        service=read_service(view.required("server_uri"), read_retries(view.view("retry_policy"))),
        path_prefix=prefix,
        mutations=_read_additions(request, context),
        asked=or_authorization(read_names(request, "allowed_headers", context) if request is not None else None),
        to_upstream=of_response("allowed_upstream_headers") or _none,
        to_upstream_appended=of_response("allowed_upstream_headers_to_append") or _none,
        to_client=client,
        to_client_on_success=of_response("allowed_client_headers_on_success") or _none,
        to_metadata=of_response("dynamic_metadata_from_headers") or _none,
    )


def read_names(view: ConfigView, field: str, context: FactoryContext) -> Names | None:
    """A `ListStringMatcher`, asked of names of fields; None where it isn't set."""
    patterns = view.view(field)
    if patterns is None:
        return None
    matchers = [context.compile_string_matcher(pattern) for pattern in patterns.views("patterns")]
    return lambda name: any(matches(name) for matches in matchers)


def or_authorization(names: Names | None) -> Names:
    """These fields, and Authorization, which every HTTP service is told."""
    if names is None:
        return "authorization".__eq__
    return lambda name: name == "authorization" or names(name)


def _none(name: str) -> bool:
    return False


def _read_additions(request: ConfigView | None, context: FactoryContext) -> tuple[HeaderMutations, ...]:
    """`headers_to_add`: each overwrites what the client said."""
    if request is None or not request.has("headers_to_add"):
        return ()
    mutations = context.compile_header_values(request.views("headers_to_add"))
    return (mutations,) if mutations is not None else ()
