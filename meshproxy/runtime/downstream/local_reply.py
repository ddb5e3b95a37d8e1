"""The head and body of the proxy's own answers, and what `local_reply_config` makes of them.

Envoy: "Local reply modification". The first mapper whose filter matches may change status, headers and body; then the
body goes through the mapper's format, or the general one. A gRPC client is answered in its own terms, whatever the
reply: status 200, with the outcome in `grpc-status` and the body in `grpc-message`. A route to an upstream
adds to a reply what it adds to the upstream's responses.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from meshproxy.headers import ResponseHeaders
from meshproxy.model.http import LocalReplyConfig
from meshproxy.model.route import DirectResponseAction, RedirectAction
from meshproxy.plugin.message_facts import grpc_status_of_http
from meshproxy.plugin.replies import LocalReply
from meshproxy.routing.mutations import apply_mutations
from meshproxy.runtime.downstream.http_edge import is_grpc

_ANSWERS = (DirectResponseAction, RedirectAction)
"""Routes without an upstream; what they add is added by the router, where the reply is theirs."""

_PLAIN_IN_GRPC_MESSAGE = " !\"#$&'()*+,/:;<=>?@[\\]^_`{|}~"


def shape_reply(reply: LocalReply, config: LocalReplyConfig | None, stream: Any) -> tuple[ResponseHeaders, bytes]:
    """What is sent for `reply`. The stream's `response` and `response_code` are set, for formats read them."""
    response = ResponseHeaders(reply.status)
    stream.response = response
    route = stream.route
    if route is not None and not isinstance(route.action, _ANSWERS) and not reply.as_is:
        stream.finalize_response(response)
    for name, value in reply.headers:  # which the reply has checked
        response.append_checked(name.lower(), value.strip(" \t"))
    stream.response_code = reply.status
    body, content_type = reply.body, "text/plain"
    fields = response.fields
    if config is not None and not reply.as_is:
        kind = fields.get("content-type")
        body, content_type = shape_by_config(config, response, body, stream)
        if kind is not None and body != reply.body and fields.get("content-type") == kind:
            fields["content-type"] = content_type  # of the body that it has now
    if stream.keeps_reply_status and not reply.as_is:
        return _as_grpc_web(response, body), b""
    speaks_grpc = is_grpc(stream.request) if stream.client_is_grpc is None else stream.client_is_grpc
    if speaks_grpc and not reply.as_is:
        status = reply.grpc_status if reply.grpc_status is not None else grpc_status_of_http(response.status)
        response.status = 200
        response.remove("content-length")  # a filter may have said that of the body, which becomes a header here
        fields["content-type"] = "application/grpc"
        fields["grpc-status"] = str(status)
        if body and stream.request.method != "HEAD":
            text = body.removesuffix(b"\n") if content_type == "application/json" else body
            fields["grpc-message"] = quote(text, safe=_PLAIN_IN_GRPC_MESSAGE)
        return response, b""
    if body:
        fields["content-length"] = str(len(body))
        if "content-type" not in fields:
            fields["content-type"] = content_type
    elif fields:
        response.remove("content-type")
        response.remove("content-length")
    if stream.request.method == "HEAD":
        body = b""
    return response, body


def _as_grpc_web(response: ResponseHeaders, body: bytes) -> ResponseHeaders:
    """What the gRPC-Web filter of Envoy makes of a reply: its body becomes a message, and its status is gRPC's too."""
    fields = response.fields
    fields["content-type"] = "application/grpc"
    if body:
        fields["grpc-message"] = quote(body, safe=_PLAIN_IN_GRPC_MESSAGE)
        fields["grpc-status"] = str(grpc_status_of_http(response.status))
        fields["content-length"] = "0"
    return response


def shape_by_config(config: LocalReplyConfig, response: ResponseHeaders, body: bytes, stream: Any) -> tuple[bytes, str]:
    """Apply `config` to a reply in place. Returns its body and content type."""
    format_body, content_type = config.format_body, config.content_type
    stream.local_reply_body = body.decode("latin-1")
    for mapper in config.mappers:
        if mapper.predicate(stream):
            if mapper.body is not None:
                body = mapper.body.encode("latin-1", "replace")
                stream.local_reply_body = mapper.body
            apply_mutations((mapper.mutations,), response, stream)
            if mapper.status is not None:
                response.status = stream.response_code = mapper.status
            if mapper.format_body is not None:
                format_body, content_type = mapper.format_body, mapper.content_type
            break
    if format_body is not None:
        body = format_body(stream).encode("latin-1", "replace")
    stream.local_reply_body = ""  # known only while a reply is formatted, as in Envoy
    return body, content_type or "text/plain"
