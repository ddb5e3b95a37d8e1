"""An external processor: what it is told in each mode, what its answers do, and what its failures do."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingRequest, ProcessingResponse
from google.protobuf.json_format import ParseDict

from ..case import OK, Case, Upstream, get
from ..grpc_peer import Answer, H2Op, closing, message, service, status
from ..h2_peer import Reset

_TYPE = "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"
_PER_ROUTE = "envoy.extensions.filters.http.ext_proc.v3.ExtProcPerRoute"
_LOG = (
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %REQ(:PATH)% rx=%BYTES_RECEIVED% tx=%BYTES_SENT%"
    " %DYNAMIC_METADATA(m)% route=%ROUTE_NAME%\n"
)
Says = dict[str, Any]
_KINDS = (
    "request_headers",
    "request_body",
    "request_trailers",
    "response_headers",
    "response_body",
    "response_trailers",
)


def kinds(says: Says) -> Callable[[], Answer]:
    """Kind of message -> what is said to it: a response as a dictionary, operations, or a list of these for each of
    that kind in turn. Without a word the message is passed on as it is."""

    def make() -> Answer:
        turns: dict[str, int] = {}

        def answer(data: bytes) -> Sequence[H2Op]:
            kind = ProcessingRequest.FromString(data).WhichOneof("request") or ""
            said = says.get(kind, {})
            if isinstance(said, list):
                turn = turns[kind] = turns.get(kind, -1) + 1
                said = said[min(turn, len(said) - 1)]
            if isinstance(said, tuple):
                return said
            return (response(said if said.keys() & _ALL else {kind: said}),)

        return answer

    return make


_ALL = frozenset((*_KINDS, "immediate_response", "override_message_timeout"))


def response(said: Says) -> H2Op:
    return message(ParseDict(said, ProcessingResponse()))


def sets(*fields: tuple[str, str], remove: Sequence[str] = (), action: str = "", **more: Any) -> Says:
    """A change of header fields, in the common response."""
    options: list[Says] = [{"header": {"key": name, "raw_value": _base64(value)}} for name, value in fields]
    for option in options:
        if action:
            option["append_action"] = action
    return {"response": {"header_mutation": {"set_headers": options, "remove_headers": list(remove)}, **more}}


def body(text: str, **more: Any) -> Says:
    return {"response": {"body_mutation": {"body": _base64(text)}, **more}}


def _base64(text: str) -> str:
    import base64

    return base64.b64encode(text.encode("latin-1")).decode()


def _hide(told: ProcessingRequest) -> None:
    for part in (told.request_headers, told.response_headers):
        for at, field in reversed(list(enumerate(part.headers.headers))):
            if field.key == "transfer-encoding":  # how a response was framed isn't for filters to see
                del part.headers.headers[at]
            if field.key in ("x-envoy-upstream-service-time", "date"):
                field.raw_value = b"<hidden>"
            if field.key == "x-request-id":
                field.raw_value = b"<id>"


UPSTREAM_TRAILERS = """typed_extension_protocol_options:
  http:
    '@type': HttpProtocolOptions
    explicit_http_config: {http_protocol_options: {enable_trailers: true}}"""


def processed(
    name: str,
    *requests: Any,
    says: Says | None = None,
    modes: Says | None = None,
    per_route: Says | None = None,
    upstream: str | tuple[Any, ...] = OK,
    at: str = "complete",
    other: Upstream | None = None,
    routes: list[Says] | None = None,
    **settings: Any,
) -> Case:
    more = {
        key: settings.pop(key)
        for key in ("shows", "differs", "refused", "timing", "log", "stats", "masks", "hcm", "listener")
        if key in settings
    }
    config = {
        "@type": _TYPE,
        "grpc_service": {"envoy_grpc": {"cluster_name": "$up2"}, "timeout": "1s"},
        "processing_mode": modes or {},
        "message_timeout": "2s",
        **settings,
    }
    entry: Says = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if per_route is not None:
        entry["typed_per_filter_config"] = {"proc": {"@type": _PER_ROUTE, **per_route}}
    scripts = (upstream,) if isinstance(upstream, str) else upstream
    return Case(
        f"ext-proc-{name}",
        closing(requests or (get("/a?b=c", "x-a: 1"),)),
        quiet=10.0,
        filters=json.dumps([{"name": "proc", "typed_config": config}]),
        routes=json.dumps(routes or [entry]),
        upstreams={
            "up": Upstream((scripts,), at=at),
            "up2": other or service(kinds(says or {}), ProcessingRequest, _hide),
        },
        timing=more.pop("timing", False),
        stats=more.pop("stats", r"^http\.$case\.ext_proc"),
        cluster=UPSTREAM_TRAILERS,
        log=more.pop("log", _LOG),
        **more,
    )


POST = get("/a", "x-a: 1", method="POST", body="the body")
CHUNKED = get("/a", "transfer-encoding: chunked", method="POST") + "4\r\nthe \r\n4\r\nbody\r\n0\r\n\r\n"
TRAILERS = get("/a", "transfer-encoding: chunked", method="POST") + "8\r\nthe body\r\n0\r\nx-t: 1\r\n\r\n"
ANSWER_TRAILERS = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nx-rt: 2\r\n\r\n"
ANSWER_CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
TRAILERS_ON = "http_protocol_options: {enable_trailers: true}"
SEND_TRAILERS = {"request_trailer_mode": "SEND", "response_trailer_mode": "SEND"}


def both(mode: str, **more: str) -> Says:
    return {"request_body_mode": mode, "response_body_mode": mode, **more}


TWO_ROUTES: list[Says] = [
    {
        "match": {"prefix": "/", "headers": [{"name": "x-n", "string_match": {"exact": "1"}}]},
        "route": {"cluster": "$up"},
        "name": "changed",
        "request_headers_to_add": [{"header": {"key": "x-route", "value": "changed"}}],
    },
    {"match": {"prefix": "/"}, "route": {"cluster": "$up"}, "name": "first"},
]


CASES = [
    # What the service is told, mode by mode.
    processed("default"),
    processed("default-post", POST),
    processed("headers-skip", POST, modes={"request_header_mode": "SKIP", "response_header_mode": "SKIP"}),
    processed("headers-skip-request", POST, modes={"request_header_mode": "SKIP"}),
    processed("headers-skip-response", POST, modes={"response_header_mode": "SKIP"}),
    processed("nothing", POST, modes={"request_header_mode": "SKIP", "response_header_mode": "SKIP"}),
    *(
        processed(
            f"{mode.lower().replace('_', '-')}-{kind}",
            request,
            modes=both(mode, **SEND_TRAILERS),
            upstream=answer,
            hcm=TRAILERS_ON,
        )
        for mode in ("STREAMED", "BUFFERED", "BUFFERED_PARTIAL")
        for kind, request, answer in (
            ("get", get("/a"), OK),
            ("post", POST, OK),
            ("chunked", CHUNKED, ANSWER_CHUNKED),
            ("trailers", TRAILERS, ANSWER_TRAILERS),
        )
    ),
    processed("none-trailers", TRAILERS, modes=SEND_TRAILERS, upstream=ANSWER_TRAILERS, hcm=TRAILERS_ON),
    processed("trailers-off", TRAILERS, modes=both("STREAMED"), upstream=ANSWER_TRAILERS, hcm=TRAILERS_ON),
    processed(
        "streamed-no-headers-and-no-route",
        POST,
        modes=both("STREAMED", request_header_mode="SKIP"),
        routes=[{"match": {"path": "/other"}, "route": {"cluster": "$up"}}],
    ),
    processed(
        "streamed-no-body",
        get("/a", "content-length: 0", method="POST"),
        modes=both("STREAMED"),
        upstream="HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
    ),
    processed(
        "buffered-trailers-alone",
        modes=both("BUFFERED", **SEND_TRAILERS),
        upstream="HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-rt: 2\r\n\r\n",
        hcm=TRAILERS_ON,
    ),
    processed(
        "buffered-no-headers", POST, modes=both("BUFFERED", request_header_mode="SKIP", response_header_mode="SKIP")
    ),
    # What its answers do to the request.
    processed(
        "set", says={"request_headers": sets(("x-n", "1"), ("x-a", "2")), "response_headers": sets(("x-r", "1"))}
    ),
    *(
        processed(
            f"set-{action.lower().replace('_', '-')}",
            get("/", "x-a: 1"),
            says={
                "request_headers": sets(("x-n", "1"), ("x-a", "2"), action=action),
                "response_headers": sets(("content-length", "2"), ("x-r", "1"), ("X-R", "3"), action=action),
            },
        )
        for action in ("APPEND_IF_EXISTS_OR_ADD", "ADD_IF_ABSENT", "OVERWRITE_IF_EXISTS_OR_ADD", "OVERWRITE_IF_EXISTS")
    ),
    processed(
        "set-value-text",
        says={
            "request_headers": {
                "response": {"header_mutation": {"set_headers": [{"header": {"key": "x-n", "value": "text"}}]}}
            }
        },
    ),
    processed(
        "set-both-values",
        says={
            "request_headers": {
                "response": {
                    "header_mutation": {
                        "set_headers": [{"header": {"key": "x-n", "value": "text", "raw_value": "cmF3"}}]
                    }
                }
            }
        },
    ),
    processed(
        "set-append-old",
        get("/", "x-a: 1"),
        says={
            "request_headers": {
                "response": {
                    "header_mutation": {
                        "set_headers": [{"header": {"key": "x-a", "raw_value": "cmF3"}, "append": True}]
                    }
                }
            }
        },
    ),
    processed("set-empty-value", get("/", "x-a: 1"), says={"request_headers": sets(("x-n", ""), ("x-a", ""))}),
    processed("set-twice", get("/", "x-a: 1"), says={"request_headers": sets(("x-n", "1"), ("x-n", "2"))}),
    processed(
        "remove",
        get("/", "x-a: 1", "x-b: 2"),
        says={
            "request_headers": sets(remove=("x-a", "X-B", "x-none")),
            "response_headers": sets(remove=("x-envoy-upstream-service-time",)),
        },
    ),
    processed(
        "remove-routing",
        get("/", "x-a: 1"),
        says={"request_headers": sets(remove=(":path", ":method", "host", ":authority", "x-a"))},
    ),
    processed("remove-and-set", get("/", "x-a: 1"), says={"request_headers": sets(("x-a", "2"), remove=("x-a",))}),
    processed("set-path", says={"request_headers": sets((":path", "/other?x"))}),
    processed("set-method", says={"request_headers": sets((":method", "PUT"))}),
    processed("set-host", says={"request_headers": sets(("host", "other"))}),
    processed("set-authority", says={"request_headers": sets((":authority", "other"))}),
    processed("set-scheme", says={"request_headers": sets((":scheme", "https"))}),
    processed("set-status", says={"response_headers": sets((":status", "201"))}),
    processed("set-status-bad", says={"response_headers": sets((":status", "99"))}),
    processed("set-status-text", says={"response_headers": sets((":status", "abc"))}),
    processed("set-status-1xx", says={"response_headers": sets((":status", "101"))}),
    processed(
        "set-envoy",
        says={"request_headers": sets(("x-envoy-mine", "1")), "response_headers": sets(("x-envoy-mine", "1"))},
    ),
    processed(
        "set-routing-allowed",
        says={"request_headers": sets((":method", "PUT"), (":authority", "other"), (":path", "/p"))},
        mutation_rules={"allow_all_routing": True},
    ),
    processed(
        "set-envoy-allowed", says={"request_headers": sets(("x-envoy-mine", "1"))}, mutation_rules={"allow_envoy": True}
    ),
    processed(
        "set-system-disallowed",
        says={"request_headers": sets((":path", "/p"), ("x-n", "1"))},
        mutation_rules={"disallow_system": True},
    ),
    processed(
        "set-all-disallowed",
        says={"request_headers": sets((":path", "/p"), ("x-n", "1"))},
        mutation_rules={"disallow_all": True},
    ),
    processed(
        "set-all-disallowed-but",
        says={"request_headers": sets(("x-m", "1"), ("x-n", "1"))},
        mutation_rules={"disallow_all": True, "allow_expression": {"regex": "x-n"}},
    ),
    processed(
        "set-disallowed-by-expression",
        says={"request_headers": sets(("x-m", "1"), ("x-n", "1"), remove=("x-a",))},
        mutation_rules={"disallow_expression": {"regex": "x-[na]"}},
    ),
    processed(
        "set-disallowed-is-error",
        says={"request_headers": sets(("x-m", "1"), ("x-envoy-n", "1"))},
        mutation_rules={"disallow_is_error": True},
    ),
    processed(
        "set-disallowed-is-error-response",
        says={"response_headers": sets(("x-m", "1"), ("x-envoy-n", "1"))},
        mutation_rules={"disallow_is_error": True},
    ),
    processed(
        "remove-disallowed-is-error",
        says={"request_headers": sets(remove=("x-envoy-n",))},
        mutation_rules={"disallow_is_error": True},
    ),
    processed("set-bad-value", says={"request_headers": sets(("x-m", "a\r\nb"), ("x-n", "1"))}),
    processed("set-bad-name", says={"request_headers": sets(("x m", "a"), ("x-n", "1"))}),
    processed("set-latin", says={"request_headers": sets(("x-m", "a\xe9"))}),
    processed(
        "set-body-for-headers",
        POST,
        says={"request_headers": {"response": {"status": "CONTINUE_AND_REPLACE", "body_mutation": {"body": "bmV3"}}}},
    ),
    processed(
        "replace-streamed",
        POST,
        modes=both("STREAMED", **SEND_TRAILERS),
        says={
            "request_headers": {
                "response": {
                    "status": "CONTINUE_AND_REPLACE",
                    "body_mutation": {"body": "bmV3"},
                    "header_mutation": {"set_headers": [{"header": {"key": "content-length", "value": "3"}}]},
                }
            }
        },
    ),
    processed(
        "replace-response",
        says={"response_headers": {"response": {"status": "CONTINUE_AND_REPLACE", "body_mutation": {"body": "bmV3"}}}},
    ),
    processed(
        "replace-nothing",
        get("/"),
        says={"request_headers": {"response": {"status": "CONTINUE_AND_REPLACE", "body_mutation": {"body": "bmV3"}}}},
    ),
    processed(
        "replace-cleared",
        POST,
        says={
            "request_headers": {"response": {"status": "CONTINUE_AND_REPLACE", "body_mutation": {"clear_body": True}}}
        },
    ),
    processed("replace-without-body", POST, says={"request_headers": {"response": {"status": "CONTINUE_AND_REPLACE"}}}),
    # Bodies.
    *(
        processed(
            f"body-{mode.lower().replace('_', '-')}",
            POST,
            modes=both(mode),
            says={"request_body": body("changed it"), "response_body": body("other")},
        )
        for mode in ("STREAMED", "BUFFERED", "BUFFERED_PARTIAL")
    ),
    processed(
        "body-buffered-chunked",
        CHUNKED,
        modes=both("BUFFERED"),
        upstream=ANSWER_CHUNKED,
        says={"request_body": body("changed it"), "response_body": body("other")},
    ),
    processed(
        "body-same-length",
        POST,
        modes=both("BUFFERED"),
        says={"request_body": body("THE BODY"), "response_body": body("OK")},
    ),
    processed(
        "body-length-told",
        POST,
        modes=both("BUFFERED"),
        says={
            "request_body": {
                "response": {
                    "body_mutation": {"body": "bmV3"},
                    "header_mutation": {"set_headers": [{"header": {"key": "content-length", "raw_value": "Mw=="}}]},
                }
            }
        },
    ),
    processed(
        "body-length-removed",
        POST,
        modes=both("BUFFERED"),
        says={
            "request_headers": sets(remove=("content-length",)),
            "request_body": body("changed it"),
            "response_headers": sets(remove=("content-length",)),
            "response_body": body("other"),
        },
    ),
    processed(
        "body-cleared",
        POST,
        modes=both("BUFFERED"),
        says={
            "request_body": {"response": {"body_mutation": {"clear_body": True}}},
            "response_body": {"response": {"body_mutation": {"clear_body": True}}},
        },
    ),
    processed(
        "body-cleared-streamed",
        POST,
        modes=both("STREAMED"),
        says={
            "request_body": {"response": {"body_mutation": {"clear_body": True}}},
            "response_body": {"response": {"body_mutation": {"clear_body": True}}},
        },
    ),
    processed("body-empty", POST, modes=both("BUFFERED"), says={"request_body": body(""), "response_body": body("")}),
    processed(
        "body-headers",
        POST,
        modes=both("BUFFERED"),
        says={"request_body": sets(("x-n", "1"), remove=("x-a",)), "response_body": sets(("x-r", "1"))},
    ),
    processed(
        "body-headers-streamed",
        POST,
        modes=both("STREAMED"),
        says={"request_body": sets(("x-n", "1")), "response_body": sets(("x-r", "1"))},
    ),
    processed(
        "trailers-set",
        TRAILERS,
        modes=SEND_TRAILERS,
        upstream=ANSWER_TRAILERS,
        hcm=TRAILERS_ON,
        says={
            "request_trailers": {"header_mutation": sets(("x-t", "9"), ("x-u", "1"))["response"]["header_mutation"]},
            "response_trailers": {
                "header_mutation": sets(("x-v", "9"), remove=("x-rt",))["response"]["header_mutation"]
            },
        },
    ),
    processed("trailers-made", POST, modes=SEND_TRAILERS, hcm=TRAILERS_ON),
    # Answers instead of the upstream's.
    processed(
        "immediate",
        says={
            "request_headers": {
                "immediate_response": {
                    "status": {"code": "Forbidden"},
                    "body": "bm8=",
                    "details": "why",
                    "headers": sets(("x-why", "because"))["response"]["header_mutation"],
                }
            }
        },
    ),
    processed("immediate-plain", says={"request_headers": {"immediate_response": {"details": "d"}}}),
    processed(
        "immediate-odd-details",
        says={"request_headers": {"immediate_response": {"status": {"code": 401}, "details": "a b\tc"}}},
    ),
    processed(
        "immediate-grpc",
        get("/", "content-type: application/grpc", method="POST", body="x"),
        says={
            "request_headers": {
                "immediate_response": {
                    "details": "d",
                    "status": {"code": "Forbidden"},
                    "body": "bm8=",
                    "grpc_status": {"status": 9},
                }
            }
        },
    ),
    processed(
        "immediate-grpc-for-none",
        says={
            "request_headers": {
                "immediate_response": {
                    "details": "d",
                    "status": {"code": "Forbidden"},
                    "body": "bm8=",
                    "grpc_status": {"status": 9},
                }
            }
        },
    ),
    processed(
        "immediate-in-body",
        POST,
        modes=both("STREAMED"),
        says={"request_body": {"immediate_response": {"details": "d", "status": {"code": "Conflict"}, "body": "bm8="}}},
    ),
    processed(
        "immediate-in-buffered-body",
        POST,
        modes=both("BUFFERED"),
        says={"request_body": {"immediate_response": {"details": "d", "status": {"code": "Conflict"}, "body": "bm8="}}},
    ),
    processed(
        "immediate-in-response",
        says={
            "response_headers": {
                "immediate_response": {
                    "details": "d",
                    "status": {"code": "BadGateway"},
                    "body": "bm8=",
                    "headers": sets(("x-why", "1"))["response"]["header_mutation"],
                }
            }
        },
    ),
    processed(
        "immediate-in-response-body",
        modes=both("BUFFERED"),
        says={
            "response_body": {"immediate_response": {"details": "d", "status": {"code": "BadGateway"}, "body": "bm8="}}
        },
    ),
    processed(
        "immediate-in-streamed-response-body",
        modes=both("STREAMED"),
        says={
            "response_body": {"immediate_response": {"details": "d", "status": {"code": "BadGateway"}, "body": "bm8="}}
        },
    ),
    processed(
        "immediate-headers",
        says={
            "request_headers": {
                "immediate_response": {
                    "details": "d",
                    "status": {"code": "OK"},
                    "body": "bm8=",
                    "headers": sets(
                        ("content-type", "text/x"),
                        ("x-envoy-mine", "1"),
                        (":status", "418"),
                        ("content-length", "9"),
                        ("server", "me"),
                    )["response"]["header_mutation"],
                }
            }
        },
    ),
    processed(
        "immediate-removes",
        says={
            "request_headers": {
                "immediate_response": {
                    "details": "d",
                    "status": {"code": "OK"},
                    "body": "bm8=",
                    "headers": sets(remove=("content-type", "content-length"))["response"]["header_mutation"],
                }
            }
        },
    ),
    processed(
        "immediate-disabled",
        says={"request_headers": {"immediate_response": {"details": "d", "status": {"code": "Forbidden"}}}},
        disable_immediate_response=True,
    ),
    processed(
        "immediate-disabled-allowed",
        says={"request_headers": {"immediate_response": {"details": "d", "status": {"code": "Forbidden"}}}},
        disable_immediate_response=True,
        failure_mode_allow=True,
    ),
    processed(
        "immediate-status-odd",
        says={"request_headers": {"immediate_response": {"details": "d", "status": {"code": 299}}}},
    ),
    # Failures.
    processed("refused", other=Upstream(mode="refuse", cluster=""), stats=""),
    processed("refused-allowed", other=Upstream(mode="refuse"), failure_mode_allow=True, stats=""),
    processed("status", says={"request_headers": (status(7, "go away"),)}),
    processed("status-allowed", says={"request_headers": (status(7, "go away"),)}, failure_mode_allow=True),
    processed("status-0", says={"request_headers": (status(0),)}),
    processed("status-0-response", says={"response_headers": (status(0),)}),
    processed("status-response", says={"response_headers": (status(13, "x"),)}),
    processed("status-body-streamed", POST, modes=both("STREAMED"), says={"request_body": (status(13, "x"),)}),
    processed(
        "status-response-body-streamed", POST, modes=both("STREAMED"), says={"response_body": (status(13, "x"),)}
    ),
    processed(
        "status-response-body-buffered", POST, modes=both("BUFFERED"), says={"response_body": (status(13, "x"),)}
    ),
    processed("reset", says={"request_headers": (Reset(8),)}),
    processed(
        "status-on-error", says={"request_headers": (status(7),)}, status_on_error={"code": "ServiceUnavailable"}
    ),
    processed("spurious", says={"request_headers": {"response_headers": {}}}),
    processed("spurious-allowed", says={"request_headers": {"response_headers": {}}}, failure_mode_allow=True),
    processed(
        "spurious-on-error", says={"request_headers": {"response_headers": {}}}, status_on_error={"code": "BadGateway"}
    ),
    processed("nothing-said", says={"request_headers": (response({}),)}),
    processed("timeout", says={"request_headers": ()}, message_timeout="0.3s", shows="504"),
    processed("timeout-allowed", says={"request_headers": ()}, message_timeout="0.3s", failure_mode_allow=True),
    processed(
        "timeout-on-error", says={"request_headers": ()}, message_timeout="0.3s", status_on_error={"code": "BadGateway"}
    ),
    processed("timeout-response", says={"response_headers": ()}, message_timeout="0.3s"),
    processed(
        "more-time",
        says={
            "request_headers": (response({"override_message_timeout": "1s"}), 0.5, response({"request_headers": {}}))
        },
        message_timeout="0.3s",
        max_message_timeout="2s",
    ),
    processed(
        "more-time-than-allowed",
        says={
            "request_headers": (response({"override_message_timeout": "9s"}), 0.5, response({"request_headers": {}}))
        },
        message_timeout="0.3s",
        max_message_timeout="2s",
    ),
    processed(
        "more-time-never",
        says={
            "request_headers": (response({"override_message_timeout": "1s"}), 0.5, response({"request_headers": {}}))
        },
        message_timeout="0.3s",
    ),
    # Modes that change.
    processed(
        "override",
        POST,
        says={
            "request_headers": {
                "request_headers": {},
                "mode_override": {
                    "request_body_mode": "BUFFERED",
                    "response_header_mode": "SKIP",
                    "response_body_mode": "BUFFERED",
                },
            }
        },
        allow_mode_override=True,
    ),
    processed(
        "override-not-allowed",
        POST,
        says={
            "request_headers": {
                "request_headers": {},
                "mode_override": {"request_body_mode": "BUFFERED", "response_header_mode": "SKIP"},
            }
        },
    ),
    processed(
        "override-streamed",
        CHUNKED,
        says={
            "request_headers": {
                "request_headers": {},
                "mode_override": {"request_body_mode": "STREAMED", "response_body_mode": "STREAMED"},
            }
        },
        allow_mode_override=True,
    ),
    processed(
        "override-in-response",
        POST,
        says={"response_headers": {"response_headers": {}, "mode_override": {"response_body_mode": "BUFFERED"}}},
        allow_mode_override=True,
    ),
    processed(
        "override-in-body",
        POST,
        modes={"request_body_mode": "BUFFERED"},
        says={
            "request_body": {
                "request_body": {},
                "mode_override": {"response_body_mode": "BUFFERED", "response_header_mode": "SKIP"},
            }
        },
        allow_mode_override=True,
    ),
    processed(
        "override-listed",
        POST,
        says={"request_headers": {"request_headers": {}, "mode_override": {"request_body_mode": "BUFFERED"}}},
        allow_mode_override=True,
        allowed_override_modes=[{"request_body_mode": "BUFFERED"}],
    ),
    processed(
        "override-not-listed",
        POST,
        says={"request_headers": {"request_headers": {}, "mode_override": {"request_body_mode": "BUFFERED"}}},
        allow_mode_override=True,
        allowed_override_modes=[{"request_body_mode": "STREAMED"}],
    ),
    processed(
        "override-listed-but-header-mode",
        POST,
        says={
            "request_headers": {
                "request_headers": {},
                "mode_override": {"request_header_mode": "SKIP", "request_body_mode": "BUFFERED"},
            }
        },
        allow_mode_override=True,
        allowed_override_modes=[{"request_body_mode": "BUFFERED"}],
    ),
    processed(
        "override-trailers",
        TRAILERS,
        upstream=ANSWER_TRAILERS,
        hcm=TRAILERS_ON,
        says={
            "request_headers": {
                "request_headers": {},
                "mode_override": {"request_trailer_mode": "SEND", "response_trailer_mode": "SEND"},
            }
        },
        allow_mode_override=True,
    ),
    processed(
        "immediate-header-envoy",
        says={
            "request_headers": {
                "immediate_response": {
                    "details": "d",
                    "headers": sets(("x-envoy-mine", "1"), ("x-mine", "1"))["response"]["header_mutation"],
                }
            }
        },
    ),
    processed(
        "immediate-header-status",
        says={
            "request_headers": {
                "immediate_response": {
                    "details": "d",
                    "headers": sets((":status", "418"), ("host", "x"))["response"]["header_mutation"],
                }
            }
        },
    ),
    processed(
        "immediate-header-status-rules",
        says={
            "request_headers": {
                "immediate_response": {
                    "details": "d",
                    "headers": sets((":status", "418"), ("x-envoy-mine", "x"))["response"]["header_mutation"],
                }
            }
        },
        mutation_rules={"allow_all_routing": True, "allow_envoy": True},
    ),
    processed("reset-allowed", says={"request_headers": (Reset(8),)}, failure_mode_allow=True),
    processed("status-response-allowed", says={"response_headers": (status(13, "x"),)}, failure_mode_allow=True),
    # Bodies that are larger than the limit, in BUFFERED_PARTIAL.
    processed(
        "partial-limit",
        get("/a", method="POST", body="x" * 3000),
        modes=both("BUFFERED_PARTIAL"),
        listener="per_connection_buffer_limit_bytes: 1024",
        upstream="HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n" + "y" * 3000,
        says={"request_body": sets(("x-n", "1")), "response_body": sets(("x-r", "1"))},
    ),
    processed(
        "buffered-limit",
        get("/a", method="POST", body="x" * 3000),
        modes={"request_body_mode": "BUFFERED"},
        listener="per_connection_buffer_limit_bytes: 1024",
    ),
    processed(
        "buffered-limit-response",
        modes={"response_body_mode": "BUFFERED"},
        listener="per_connection_buffer_limit_bytes: 1024",
        upstream="HTTP/1.1 200 OK\r\ncontent-length: 3000\r\n\r\n" + "y" * 3000,
        stats="",
    ),
    # Routes.
    processed("route-disabled", per_route={"disabled": True}),
    processed(
        "route-modes",
        POST,
        per_route={
            "overrides": {
                "processing_mode": {
                    "request_header_mode": "SKIP",
                    "request_body_mode": "BUFFERED",
                    "response_header_mode": "SKIP",
                }
            }
        },
    ),
    processed(
        "route-service", other=Upstream(mode="refuse"), per_route={"overrides": {"failure_mode_allow": True}}, stats=""
    ),
    processed(
        "route-initial-metadata",
        per_route={"overrides": {"grpc_initial_metadata": [{"key": "x-meta", "value": "route"}]}},
        grpc_service={
            "envoy_grpc": {"cluster_name": "$up2"},
            "initial_metadata": [{"key": "x-meta", "value": "own"}, {"key": "x-own", "value": "1"}],
        },
    ),
    processed(
        "attributes",
        POST,
        request_attributes=[
            "request.path",
            "request.method",
            "connection.mtls",
            "request.size",
            "nothing.such",
            "request.id",
        ],
        response_attributes=["response.code", "response.flags"],
        masks=((r"number_value: \d{5}", "number_value: <port>"), (r'string_value: "[0-9a-f-]{36}"', "<id>")),
    ),
    processed(
        "attributes-without-headers",
        POST,
        modes=both("BUFFERED", request_header_mode="SKIP", response_header_mode="SKIP"),
        request_attributes=["request.path"],
        response_attributes=["response.code"],
    ),
    processed(
        "attributes-once",
        POST,
        modes=both("STREAMED"),
        request_attributes=["request.path"],
        response_attributes=["response.code"],
    ),
    processed("clear-route", routes=TWO_ROUTES, says={"request_headers": sets(("x-n", "1"), clear_route_cache=True)}),
    processed(
        "clear-route-without-change",
        routes=TWO_ROUTES,
        says={"request_headers": {"response": {"clear_route_cache": True}}},
    ),
    processed("clear-route-not-asked", routes=TWO_ROUTES, says={"request_headers": sets(("x-n", "1"))}),
    processed(
        "clear-route-always",
        routes=TWO_ROUTES,
        says={"request_headers": sets(("x-n", "1"))},
        route_cache_action="CLEAR",
    ),
    processed(
        "clear-route-never",
        routes=TWO_ROUTES,
        says={"request_headers": sets(("x-n", "1"), clear_route_cache=True)},
        route_cache_action="RETAIN",
    ),
    processed(
        "clear-route-disabled",
        routes=TWO_ROUTES,
        says={"request_headers": sets(("x-n", "1"), clear_route_cache=True)},
        disable_clear_route_cache=True,
    ),
    processed("clear-route-both", route_cache_action="RETAIN", disable_clear_route_cache=True, refused=True),
    processed(
        "clear-route-in-body",
        POST,
        routes=TWO_ROUTES,
        modes=both("BUFFERED"),
        says={"request_body": sets(("x-n", "1"), clear_route_cache=True)},
    ),
    # What it is told, and what it may tell.
    processed(
        "forward-rules",
        get("/", "x-a: 1", "x-b: 2", "cookie: c"),
        forward_rules={
            "allowed_headers": {"patterns": [{"prefix": "x-"}, {"exact": ":path"}]},
            "disallowed_headers": {"patterns": [{"exact": "x-b"}, {"exact": "x-request-id"}]},
        },
    ),
    processed(
        "forward-rules-disallowed",
        get("/", "x-a: 1"),
        forward_rules={"disallowed_headers": {"patterns": [{"exact": "x-a"}, {"exact": ":method"}]}},
    ),
    processed(
        "metadata",
        says={"request_headers": {"request_headers": {}, "dynamic_metadata": {"m": {"a": 1}, "other": {"b": 2}}}},
        metadata_options={
            "receiving_namespaces": {"untyped": ["m"]},
            "forwarding_namespaces": {"untyped": ["m", "none"]},
        },
    ),
    processed(
        "metadata-not-received", says={"request_headers": {"request_headers": {}, "dynamic_metadata": {"m": {"a": 1}}}}
    ),
    processed("headers-twice", get("/", "x-a: 1", "x-a: 2", "X-Mixed: Case")),
    processed("observed-default", POST, observability_mode=True, deferred_close_timeout="0.1s"),
    processed(
        "observed-buffered", POST, modes=both("BUFFERED"), observability_mode=True, deferred_close_timeout="0.1s"
    ),
    processed("two-requests", get("/1"), 0.1, get("/2")),
    processed(
        "head", get("/", method="HEAD"), upstream="HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n", modes=both("BUFFERED")
    ),
    processed("no-content", upstream="HTTP/1.1 204 No Content\r\n\r\n", modes=both("STREAMED")),
    *(
        processed(
            f"no-such-cluster-{allowed}",
            grpc_service={"envoy_grpc": {"cluster_name": "none"}},
            failure_mode_allow=allowed,
        )
        for allowed in (False, True)
    ),
    processed("not-found", get("/none"), routes=[{"match": {"prefix": "/other"}, "route": {"cluster": "$up"}}]),
    processed(
        "direct-response",
        routes=[{"match": {"prefix": "/"}, "direct_response": {"status": 203, "body": {"inline_string": "direct"}}}],
        modes=both("BUFFERED"),
        says={"response_headers": sets(("x-r", "1"))},
    ),
]
