"""Known differences: where meshproxy does not do what Envoy does, on purpose, and why.

docs/differences.md says the same in prose; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import replace

from .case import Difference

_REFUSED = ("client 1", "upstream up", "access log", "client 1 end after last byte")
_HEAD = ("client 1", "upstream up", "access log")

FOLDED_REQUEST = Difference(
    "obs-fold in a request",
    "RFC 9112 section 5.2 lets a server refuse it, and peers that unfold differently are a way to smuggle",
    _REFUSED,
)
BARE_LF = Difference(
    "bare LF as the end of a line",
    "RFC 9112 section 2.2 lets a recipient accept it; two recipients that disagree are a way to smuggle",
    _REFUSED,
)
TWO_HOSTS = Difference(
    "two Host lines",
    "RFC 9112 section 3.2 asks for 400; Envoy joins them with a comma and forwards",
    _REFUSED,
)
HTTP_09 = Difference(
    "HTTP/0.9 with accept_http_10",
    "nothing in a mesh speaks it, and a line without version is more likely an attack or a mistake",
    _REFUSED,
)
CODING_IN_10 = Difference(
    "Transfer-Encoding in an HTTP/1.0 request",
    "RFC 9112 section 6.1: its framing is to be treated as faulty",
    _REFUSED,
)
BARE_LF_SHORT = replace(BARE_LF, sections=_HEAD)
BARE_CR = Difference(
    "bare CR in a head",
    "RFC 9112 section 2.2 asks to refuse or replace it; Envoy deletes it, so that two names or values may run together",
    _HEAD,
)
ODD_HOST = Difference(
    "Host with user information or without a valid port",
    "RFC 9110 sections 4.2.1 and 4.2.4; it is what routes and policies decide on",
    _HEAD,
)
ODD_SPACES = Difference(
    "more or other white space in the request line than one space between words",
    "RFC 9112 section 3: a lenient reading is a way to smuggle",
    _HEAD,
)
LOOSE_CHUNKS = Difference(
    "chunk lines and trailers beyond the grammar or beyond any use",
    "junk after a size, NUL, thousands of zeros, more than 4 KiB of extensions, folded, bare-LF or 200 trailers: Envoy"
    " drops them unread, others have been smuggled or exhausted with them",
    _HEAD,
)
UNASKED_101 = Difference(
    "101 that nobody asked for",
    "RFC 9110 section 15.2.2; Envoy passes it on, and client and proxy then disagree about what follows",
    ("client 1", "access log"),
)
TOO_MANY_QUEUED = Difference(
    "pipelined requests with local replies among them",
    "Envoy counts queued local replies as a flood and ends the connection; meshproxy answers one request at a time, so"
    " nothing queues",
    ("client 1", "upstream up", "access log", "client 1 end after last byte"),
)
USAGE = Difference(
    "exit code of a wrong command line",
    "2 says that the call was wrong and 1 that the configuration was; Envoy's 1 says both",
    (),
)
NO_ALERT = Difference(
    "alert for a certificate with other names or hashes",
    "`ssl` can't send an alert of our choosing; the handshake fails all the same",
    ("client 1",),
)
NO_ALERT_UPSTREAM = replace(NO_ALERT, sections=("upstream up",))
SNI_IS_REQUIRED = Difference(
    "require_sni without a server name",
    "the field says so; Envoy has not implemented it",
    ("client 1", "stats", "upstream up", "access log"),
)
RETRIED_OWN_REQUESTS = Difference(
    "a filter's own request, when it is retried",
    "Envoy sends a GET without a body again with an empty chunked one",
    ("upstream up2",),
)
CLIENTS_ORIGINAL_PATH = Difference(
    "x-envoy-original-path of a client, in the realm of a refused token",
    "CVE-2023-27487: what a client says of itself isn't to be repeated as ours",
    ("client 1",),
)
ALL_TOKENS = Difference(
    "several tokens where a token may be missing, one of them bad",
    "the upstream may read the bad one; without allow_missing Envoy refuses them for that reason",
    ("client 1", "stats", "upstream up", "access log"),
)
CLAIM_WITHOUT_HEADER = Difference(
    "a claim that no header can hold",
    "it has control bytes in it; the request itself is good",
    ("client 1", "upstream up", "access log"),
)

EMPTY_HOST_LOG = Difference(
    "an empty Host in the access log",
    "to the formatter an empty value is an absent one",
    ("access log",),
)
CHUNK_ERROR_BYTES = Difference(
    "bytes received of a body whose second chunk is malformed",
    "Envoy drops what came before in the same read; it was received",
    ("access log",),
)
AFTER_BAD_HEAD = Difference(
    "stream_error_on_invalid_http_message and a request without Host",
    "where a head is malformed nobody knows where the next one begins: the connection closes all the same",
    ("client 1", "upstream up", "access log", "client 1 end after last byte"),
)
ABSOLUTE_WITHOUT_PATH = Difference(
    "absolute-form with a query and no path",
    "RFC 9112 section 3.2.2 lets the path be empty; Envoy takes `?a=b` for it and answers 404",
    ("client 1", "upstream up", "access log"),
)
VERSION_OF_REFUSAL = Difference(
    "status line of the 400 for an HTTP/1.0 request without Host",
    "what was refused isn't parsed to the end, so the answer is HTTP/1.1",
    ("client 1", "access log"),
)
UPGRADE_WITH_BODY = Difference(
    "a request for an upgrade that has a body",
    "RFC 9110 section 7.8 allows it; the body goes out framed; Envoy holds it back until the answer",
    ("client 1", "upstream up", "access log", "client 1 end after last byte"),
)
BODY_OF_204 = Difference(
    "a direct response of 204 or 304 with a body",
    "RFC 9110 sections 15.3.5 and 15.4.5: it has none; a client would take Envoy's for the next response",
    ("client 1", "access log"),
)
EQUAL_SUITES = Difference(
    "suites of TLS 1.2 in a group of equals",
    "OpenSSL has no groups: AES128 goes first, but CHACHA20 where the client begins with it",
    ("client 1", "stats", "access log"),
)
GOAWAY_FOR_FLOODS = Difference(
    "the end of an HTTP/2 connection that floods",
    "RFC 9113 section 7 has ENHANCE_YOUR_CALM for it; Envoy closes without a word",
    ("client 1",),
)
MORE_STREAMS_THAN_ALLOWED = Difference(
    "more streams than a client that knows better may open",
    "RFC 9113 section 5.1.2: a refused stream may be tried again; Envoy ends the connection and all the others",
    ("client 1", "upstream up", "access log"),
)
DRAINED_CONNECTION = Difference(
    "an HTTP/2 connection to an upstream that ends with its last request",
    "its host went away in order; Envoy finds its own closing in the middle of a read and takes it for a fault",
    ("stats",),
)
ALPN_COUNTED_TWICE = Difference(
    "an upstream connection whose protocol ALPN chooses",
    "it is one connection; Envoy counts it again when the protocol is known",
    ("stats",),
)
PATH_BEYOND_ASCII = Difference(
    "a path with bytes beyond ASCII over HTTP/2",
    "RFC 3986 knows no such path; over HTTP/1 it's refused as well",
    ("client 1", "upstream up", "access log"),
)
BAD_PROTOCOL = Difference(
    "a `:protocol` that is no token",
    "it would become an Upgrade field that is none",
    ("client 1", "access log"),
)
BAD_PRIORITY = Difference(
    "PRIORITY on stream 0, or of a stream that depends on itself",
    "RFC 9113 section 6.3; Envoy ignores it",
    ("client 1",),
)
SAYING_NOTHING = Difference(
    "many frames that say nothing: unknown types, GOAWAY, answers to no PING",
    "reading them is all cost and no use; Envoy reads on",
    ("client 1",),
)
ENDLESS_BLOCK = Difference(
    "a block of ten times the fields that a message may have",
    "decoding it is all cost and no use; Envoy resets the stream alone",
    ("client 1", "access log"),
)
GOAWAY_FOR_FAULTS = Difference(
    "most connection errors of HTTP/2",
    "RFC 9113 section 5.4.1; Envoy closes without GOAWAY",
    ("client 1",),
)
AFTER_THE_END = Difference(
    "DATA or HEADERS after a request's end; a window of a stream that is too large or grows by 0",
    "RFC 9113 sections 5.1 and 6.9: these are errors of a stream; Envoy ends the connection",
    ("client 1", "access log"),
)
REDIRECT_NOT_FOLLOWED = Difference(
    "route and cluster in the log of a redirect that is not followed for its target's sake",
    "what the log says is where the request went; Envoy has the route that it would have got",
    ("access log",),
)
TUNNEL_END = Difference(
    "a client that half-closes a connection through a tunnel over HTTP/1",
    "what the host has yet to say arrives, as it does without the tunnel; Envoy closes both ends at once",
    ("client 1", "access log"),
)

VALUE_IN_SPACES = Difference(
    "white space around the value of an HTTP/2 field",
    "RFC 9113 section 8.2.1 forbids it; taken off, hosts and policies see what HTTP/1 would show them",
    ("upstream up",),
)
FRAMING_IN_TRAILERS = Difference(
    "Host or content-length in the trailers of a request over HTTP/2",
    "RFC 9110 section 6.5.1 forbids them there; Envoy drops them",
    ("client 1", "upstream up", "access log", "client 1 end after last byte"),
)
ODD_AUTHORITY = replace(ODD_HOST, sections=("client 1", "upstream up", "access log", "client 1 end after last byte"))
QUOTE_IN_REALM = Difference(
    "a quote in the path, in the realm that basic_auth answers with",
    "as a path has it; Envoy escapes it as a quoted string does",
    ("client 1",),
)
QUERY_WITHOUT_KEY = Difference(
    "the rest of a query that hide_credentials of api_key_auth has taken the key out of",
    "it is left as it was written; Envoy writes it anew, decoded",
    ("upstream up", "access log"),
)
NO_PATH = Difference(
    "a path that path_rewrite makes and that is none",
    "it has no `/` at its beginning, or a space in it: a host would take it for something else",
    ("upstream up",),
)
NO_REQUEST_LINE = replace(NO_PATH, sections=("client 1", "upstream up", "access log"))
CORRUPT_BODY = Difference(
    "a body that can't be decompressed",
    "who gets it must see that it isn't whole; Envoy passes on what it has, and ends it as if it were",
    ("client 1", "access log", "stats"),
)
CONNECTION_ADDED = Difference(
    "a Connection field that early_header_mutation_extensions add",
    "fields that Connection names don't go further, whoever has written it",
    ("upstream up",),
)
FIELDS_WITHOUT_EFFECT = Difference(
    "fields that can't have the effect they ask for",
    "who wrote them meant something: TLVs in a PROXY header of version 1, rules about requests where there are none",
    ("error",),
)

NO_GRPC_ANSWER = Difference(
    "an answer to gRPC-Web that is no gRPC",
    "its head goes out when it comes, and the status in a last frame; Envoy holds the head back and puts it there",
    ("client 1", "access log"),
)
LIMIT_OFF = Difference(
    "the gauge of a connection_limit that is off",
    "nothing was counted up; Envoy counts down all the same",
    ("stats",),
)
NOT_THERE = Difference(
    "fields and values that ask for what meshproxy doesn't have",
    "what is accepted is enforced; docs/supported.md lists them",
    ("error",),
)

ALL = {value.title: value for value in list(globals().values()) if isinstance(value, Difference)}
