"""The names of header fields of which a message has one value only: more than one are joined with a comma.

Envoy's header map has a slot of its own for each of these (its "inline headers", and those that its extensions
register), and what arrives for a full slot is joined to what is there. That is seen from outside: by the upstream, by
header matchers and in access logs. The lists are what Envoy 1.40 was seen to join; cookie and set-cookie are not.
"""

from __future__ import annotations

_EVERYWHERE = frozenset((
    "cache-control", "connection", "content-encoding", "content-type", "keep-alive", "proxy-connection",
    "proxy-status", "upgrade", "via", "x-envoy-attempt-count", "x-envoy-decorator-operation", "x-request-id"
))  # fmt: skip

_REQUESTS = frozenset((
    "accept", "accept-encoding", "access-control-request-headers", "access-control-request-method",
    "access-control-request-private-network", "authorization", "cdn-loop", "expect", "grpc-accept-encoding",
    "grpc-timeout",
    "if-modified-since", "if-none-match", "origin", "pragma", "referer", "te", "user-agent", "x-client-trace-id",
    "x-envoy-downstream-service-cluster", "x-envoy-downstream-service-node", "x-envoy-expected-rq-timeout-ms",
    "x-envoy-external-address", "x-envoy-force-trace", "x-envoy-hedge-on-per-try-timeout", "x-envoy-internal",
    "x-envoy-ip-tags", "x-envoy-is-timeout-retry", "x-envoy-max-retries", "x-envoy-original-host",
    "x-envoy-original-path", "x-envoy-retriable-header-names", "x-envoy-retriable-status-codes",
    "x-envoy-retry-grpc-on", "x-envoy-retry-on", "x-envoy-upstream-alt-stat-name",
    "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-ms", "x-forwarded-client-cert",
    "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto"
))  # fmt: skip

_RESPONSES = frozenset((
    "access-control-allow-credentials", "access-control-allow-headers", "access-control-allow-methods",
    "access-control-allow-origin", "access-control-allow-private-network", "access-control-expose-headers",
    "access-control-max-age", "age", "date", "etag", "expires", "grpc-message", "grpc-status", "last-modified",
    "location", "server", "vary", "x-envoy-degraded", "x-envoy-immediate-health-check-fail", "x-envoy-ratelimited",
    "x-envoy-upstream-canary", "x-envoy-upstream-healthchecked-cluster", "x-envoy-upstream-service-time"
))  # fmt: skip

JOINED_IN_REQUESTS = _EVERYWHERE | _REQUESTS
JOINED_IN_RESPONSES = _EVERYWHERE | _RESPONSES
