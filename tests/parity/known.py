"""Known differences: where meshproxy does not do what Envoy does, on purpose.

Why, and what each of the two does, stands in docs/differences.md in the row of the same title; a test holds the two
together. Here is what differs of a case's transcript; where that depends on the case there are several for one row.
"""

from __future__ import annotations

from dataclasses import replace

from .case import Difference

_REFUSED = ("client 1", "upstream up", "access log", "client 1 end after last byte")
_REQUEST = ("client 1", "upstream up", "access log")
_RESPONSE = ("client 1", "access log")
_CLIENT = ("client 1",)
_UPSTREAM = ("upstream up",)
_LOG = ("access log",)
_STATS = ("stats",)
_STARTING = ("error",)

SERVICE_BY_ADDRESS = Difference(
    "what a gRPC service that is named by its address is told of its client", ("upstream up2",)
)

# HTTP/1: what a message may look like.

FOLDED_REQUEST = Difference("obs-fold in a request", _REFUSED)
BARE_LF = Difference("bare LF as the end of a line", _REFUSED)
BARE_LF_SHORT = replace(BARE_LF, sections=_REQUEST)
BARE_CR = Difference("bare CR in a head", _REQUEST)
TWO_HOSTS = Difference("two Host lines", _REFUSED)
ODD_HOST = Difference("Host with user information or without a valid port", _REQUEST)
ODD_AUTHORITY = replace(ODD_HOST, sections=_REFUSED)
ODD_SPACES = Difference("more or other white space in the request line than one space between words", _REQUEST)
LOOSE_CHUNKS = Difference("chunk lines and trailers beyond the grammar or beyond any use", _REQUEST)
HTTP_09 = Difference("HTTP/0.9 with accept_http_10", _REFUSED)
CODING_IN_10 = Difference("Transfer-Encoding in an HTTP/1.0 request", _REFUSED)
ABSOLUTE_WITHOUT_PATH = Difference("absolute-form with a query and no path", _REQUEST)
VERSION_OF_REFUSAL = Difference("status line of the 400 for an HTTP/1.0 request without Host", _RESPONSE)
AFTER_BAD_HEAD = Difference("stream_error_on_invalid_http_message and a request without Host", _REFUSED)
UNASKED_101 = Difference("101 that nobody asked for", _RESPONSE)
UPGRADE_WITH_BODY = Difference("a request for an upgrade that has a body", _REFUSED)
BODY_OF_204 = Difference("a direct response of 204 or 304 with a body", _RESPONSE)
DIGITS_BEYOND_USE = Difference("a length of more than 18 digits, a chunk of more bytes than that", _REQUEST)
USER_IN_TARGET = Difference("user information in an absolute-form, or an absolute-form without Host", _REQUEST)
ADDRESS_WITH_ZONE = Difference("an IPv6 address with a zone as Host", _REQUEST)
NOT_HTTP = Difference("a first line that can't become that of a request", _RESPONSE)
ODD_STATUS_LINE = Difference("a response's status line beyond the grammar", _RESPONSE)
LOOSE_CHUNKS_OF_HOST = Difference("bytes behind a chunk's data in a response", _REQUEST)
TOO_MANY_QUEUED = Difference("pipelined requests with local replies among them", _REFUSED)
FORBIDDEN_TRAILERS = Difference("trailers that belong into a head", ("client 1", "upstream up"))
CLOSED_CONNECT = Difference("a CONNECT with `connection: close`", _CLIENT)

# HTTP/2: frames, fields and faults.

GOAWAY_FOR_FLOODS = Difference("the end of an HTTP/2 connection that floods", _CLIENT)
PATH_BEYOND_ASCII = Difference("a path with bytes beyond ASCII over HTTP/2", _REQUEST)
BAD_PRIORITY = Difference("PRIORITY on stream 0, or of a stream that depends on itself", _CLIENT)
SAYING_NOTHING = Difference("many frames that say nothing: unknown types, GOAWAY, answers to no PING", _CLIENT)
ENDLESS_BLOCK = Difference("a block of ten times the fields that a message may have", _RESPONSE)
GOAWAY_FOR_FAULTS = Difference("most connection errors of HTTP/2", _CLIENT)
AFTER_THE_END = Difference(
    "DATA or HEADERS after a request's end; a window of a stream that is too large or grows by 0", _RESPONSE
)
MORE_STREAMS_THAN_ALLOWED = Difference("more streams than a client that knows better may open", _REQUEST)
BAD_PROTOCOL = Difference("a `:protocol` that is no token", _RESPONSE)
VALUE_IN_SPACES = Difference("white space around the value of an HTTP/2 field", _UPSTREAM)
FRAMING_IN_TRAILERS = Difference("Host or content-length in the trailers of a request over HTTP/2", _REFUSED)

# TLS.

ODD_SERVER_NAME = Difference("a server name with bytes that no host name has", _CLIENT)
NO_ALERT = Difference("alert for a certificate with other names or hashes", _CLIENT)
NO_ALERT_UPSTREAM = replace(NO_ALERT, sections=_UPSTREAM)
ALERT_WITHOUT_STAPLE = Difference("alert for a client who gets no OCSP response where one is a must", _CLIENT)
CONTROLS_IN_NAMES = Difference(
    "a name with control characters in a certificate", ("client 1", "upstream up", "access log", "stats")
)
SNI_IS_REQUIRED = Difference("require_sni without a server name", ("client 1", "stats", "upstream up", "access log"))
EQUAL_SUITES = Difference("suites of TLS 1.2 in a group of equals", ("client 1", "stats", "access log"))

# Filters and policies.

RETRIED_OWN_REQUESTS = Difference("a filter's own request, when it is retried", ("upstream up2",))
CLIENTS_ORIGINAL_PATH = Difference("x-envoy-original-path of a client, in the realm of a refused token", _CLIENT)

MODIFIED_IN_PART = Difference("/runtime_modify with a value that is no YAML", _CLIENT)

ALL_TOKENS = Difference(
    "several tokens where a token may be missing, one of them bad", ("client 1", "stats", "upstream up", "access log")
)
CLAIM_WITHOUT_HEADER = Difference("a claim that no header can hold", _REQUEST)
QUOTE_IN_REALM = Difference("a quote in the path, in the realm that basic_auth answers with", _CLIENT)
WITHOUT_LIMIT = Difference(
    "a bandwidth_limit without limit_kbps", ("client 1", "access log", "client 1 end after last byte")
)
REST_OF_QUERY = Difference(
    "the rest of a query that api_key_auth, header_mutation or jwt_authn changes",
    ("upstream up", "access log"),
)
NO_PATH = Difference("a path that path_rewrite makes and that is none", _UPSTREAM)
NO_REQUEST_LINE = replace(NO_PATH, sections=_REQUEST)
FRAMED_AT_ONCE = Difference(
    "a body beyond the limit of `buffer` or ext_authz that comes with its end in one HTTP/2 frame", _REQUEST
)
CORRUPT_BODY = Difference("a body that can't be decompressed", ("client 1", "access log", "stats"))
CONNECTION_ADDED = Difference("a Connection field that early_header_mutation_extensions add", _UPSTREAM)
NO_GRPC_ANSWER = Difference("an answer to gRPC-Web that is no gRPC", _RESPONSE)
TUNNEL_END = Difference("a client that half-closes a connection through a tunnel over HTTP/1", _RESPONSE)
CHECK_WITH_BODY = Difference("a health check that has a body", _RESPONSE)

# Logs and statistics.

EMPTY_HOST_LOG = Difference("an empty Host in the access log", _LOG)
CHUNK_ERROR_BYTES = Difference("bytes received of a body whose second chunk is malformed", _LOG)
REDIRECT_NOT_FOLLOWED = Difference(
    "route and cluster in the log of a redirect that is not followed for its target's sake", _LOG
)
ALPN_COUNTED_TWICE = Difference("an upstream connection whose protocol ALPN chooses", _STATS)
DRAINED_CONNECTION = Difference("an HTTP/2 connection to an upstream that ends with its last request", _STATS)
LIMIT_OFF = Difference("the gauge of a connection_limit that is off", _STATS)
UNFINISHED_HEAD = Difference("a client that leaves in the head of an HTTP/2 request", _LOG)
RESET_AS_END = Difference("a reset that ends a response without a length", _STATS)
WEIGHT_OF_LOGICAL_DNS = Difference("`max_host_weight` of LOGICAL_DNS", _STATS)
NO_DETAILS = Difference("details of a response by custom_response that names none", _LOG)

# Configurations and the command line.

FIELDS_WITHOUT_EFFECT = Difference("fields that can't have the effect they ask for", _STARTING)
NOT_THERE = Difference("fields and values that ask for what meshproxy doesn't have", _STARTING)
FOREIGN_PAGE = Difference(
    "a request to admin under a host name of a public zone, or a change there that a page of another site asks for",
    _CLIENT,
)
USAGE = Difference("exit code of a wrong command line", ())

ALL = {value.title: value for value in list(globals().values()) if isinstance(value, Difference)}
