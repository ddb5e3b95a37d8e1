"""What a codec is told: Envoy's `Http1ProtocolOptions` and the limits of `HttpProtocolOptions`, compiled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Underscores = Literal["ALLOW", "REJECT_REQUEST", "DROP_HEADER"]
HeaderKeyFormat = Literal["proper_case", "preserve_case"]


@dataclass(frozen=True, slots=True)
class Http1Options:
    """Options of one HTTP/1 codec; the defaults are Envoy's for a listener.

    max_headers_kb: the largest message head, in KiB, line ends included. Envoy's default for responses is 80.
    max_headers_count: the most fields in a head, Host included; also the most trailers.
    accept_http_10, default_host_for_http_10: serve HTTP/1.0, and the authority of a request without Host ("": none).
    allow_absolute_url: accept `GET http://host/path` (RFC 9112 section 3.2.2).
    enable_trailers: hand trailers on; otherwise they are checked and dropped.
    allow_chunked_length: accept Content-Length beside `Transfer-Encoding: chunked`; Content-Length is then removed.
    underscores: what is done with a field whose name has an underscore.
    header_key_format: how names are written; None writes them in lower case.
    send_fully_qualified_url: write the absolute-form to an upstream.
    """

    max_headers_kb: int = 60
    max_headers_count: int = 100
    accept_http_10: bool = False
    default_host_for_http_10: str = ""
    allow_absolute_url: bool = True
    enable_trailers: bool = False
    allow_chunked_length: bool = False
    underscores: Underscores = "ALLOW"
    header_key_format: HeaderKeyFormat | None = None
    send_fully_qualified_url: bool = False
