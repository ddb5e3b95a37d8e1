"""`local_reply_config`: what the configuration makes of the proxy's own answers.

Envoy: "Local reply modification". The first mapper whose filter matches may change status, headers and body; then the
body goes through the mapper's format, or the general one.
"""

from __future__ import annotations

from typing import Any

from meshproxy.headers import ResponseHeaders
from meshproxy.model.http import LocalReplyConfig
from meshproxy.routing.mutations import apply_addition


def shape_by_config(config: LocalReplyConfig, response: ResponseHeaders, body: bytes, stream: Any) -> tuple[bytes, str]:
    """Apply `config` to a reply in place. Returns its body and content type."""
    format_body, content_type = config.format_body, config.content_type
    stream.local_reply_body = body.decode("latin-1")
    for mapper in config.mappers:
        if mapper.predicate(stream):
            if mapper.status is not None:
                response.status = stream.response_code = mapper.status
            if mapper.body is not None:
                body = mapper.body.encode("latin-1", "replace")
                stream.local_reply_body = mapper.body
            for addition in mapper.headers_to_add:
                apply_addition(addition, response, stream)
            if mapper.format_body is not None:
                format_body, content_type = mapper.format_body, mapper.content_type
            break
    if format_body is not None:
        body = format_body(stream).encode("latin-1", "replace")
    stream.local_reply_body = ""  # known only while a reply is formatted, as in Envoy
    return body, content_type or "text/plain"
