"""Local rate limits: the bucket, fractions, headers, descriptors of routes and of the filter itself."""

from __future__ import annotations

import json
from typing import Any

from ..case import Case, get

_TYPE = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"
_ALL = {"default_value": {"numerator": 100}}
_NONE = {"default_value": {"numerator": 0}}
_GRPC = "content-type: application/grpc"


def bucket(tokens: int, interval: str = "1000s", fill: int = 1) -> dict[str, Any]:
    return {"max_tokens": tokens, "tokens_per_fill": fill, "fill_interval": interval}


ONE = bucket(1)


def config(**settings: Any) -> dict[str, Any]:
    base = {"stat_prefix": "$case", "token_bucket": ONE, "filter_enabled": _ALL, "filter_enforced": _ALL}
    return {key: value for key, value in {**base, **settings}.items() if value is not None}


def described(*entries: tuple[str, str], tokens: int = 0, **more: Any) -> dict[str, Any]:
    """A descriptor and its bucket, with one token unless `tokens` says more; an entry without value is for any."""
    items = [{"key": key, "value": value} if value else {"key": key} for key, value in entries]
    return {"entries": items, "token_bucket": bucket(tokens or 1, **more)}


def limited(
    name: str,
    settings: dict[str, Any],
    *requests: str | float,
    route: dict[str, Any] | None = None,
    action: dict[str, Any] | None = None,
    per_route: dict[str, Any] | None = None,
    **more: Any,
) -> Case:
    filters = [{"name": "lrl", "typed_config": {"@type": _TYPE, **settings}}]
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up", **(action or {})}, **(route or {})}
    if per_route is not None:
        entry["typed_per_filter_config"] = {"lrl": {"@type": _TYPE, **per_route}}
    more.setdefault("stats", r"^$case\.http_local_rate_limit")
    return Case(
        f"local-ratelimit-{name}",
        requests or (get("/1"), 0.1, get("/2")),
        filters=json.dumps(filters),
        routes=json.dumps([entry]),
        timing=False,
        **more,
    )


def header_action(name: str, key: str = "k", **more: Any) -> dict[str, Any]:
    return {"request_headers": {"header_name": name, "descriptor_key": key, **more}}


def by_action(
    name: str, actions: list[dict[str, Any]], entries: list[tuple[str, str]], *requests: str | float, **more: Any
) -> Case:
    """One token for what the actions describe so, plenty for the rest; said by the route."""
    settings = config(token_bucket=bucket(100), descriptors=[described(*entries)])
    return limited(
        f"action-{name}",
        settings,
        *requests,
        action={"rate_limits": [{"actions": actions}]},
        **more,
    )


def hits(name: str, addend: dict[str, Any], *requests: str | float, **more: Any) -> Case:
    limits = [{"actions": [{"generic_key": {"descriptor_value": "g"}}], "hits_addend": addend}]
    settings = config(
        token_bucket=bucket(100),
        descriptors=[described(("generic_key", "g"), tokens=3)],
        rate_limits=limits,
        enable_x_ratelimit_headers="DRAFT_VERSION_03",
    )
    return limited(f"hits-{name}", settings, *requests, **more)


TWICE = (get("/1", "x-a: 1"), 0.1, get("/2", "x-a: 1"), 0.1, get("/3", "x-a: 2"), 0.1, get("/4"))
X_HEADERS = {"enable_x_ratelimit_headers": "DRAFT_VERSION_03"}
GENERIC = [{"generic_key": {"descriptor_value": "g"}}]
FOR_GENERIC = described(("generic_key", "g"))

CASES = [
    limited("over", config(), shows=("429 Too Many Requests", "local_rate_limited", "rf=RL")),
    limited("nobody-ever", config(token_bucket=bucket(0))),
    limited("under", config(token_bucket=bucket(2)), shows="ok: 2"),
    limited("head", config(), get("/", method="HEAD"), 0.1, get("/", method="HEAD")),
    limited("grpc", config(), get("/", _GRPC), 0.1, get("/", _GRPC)),
    limited("grpc-exhausted", config(rate_limited_as_resource_exhausted=True), get("/", _GRPC), 0.1, get("/", _GRPC)),
    limited("disabled-by-default", {"stat_prefix": "$case", "token_bucket": ONE}),
    limited("disabled", config(filter_enabled=_NONE)),
    limited("not-enforced-by-default", config(filter_enforced=None)),
    limited(
        "not-enforced",
        config(
            filter_enforced=_NONE,
            request_headers_to_add_when_not_enforced=[{"header": {"key": "x-limited", "value": "%PROTOCOL%"}}],
            response_headers_to_add=[{"header": {"key": "x-never", "value": "1"}}],
        ),
        shows="x-limited",
    ),
    limited("status", config(status={"code": "ServiceUnavailable"}), shows="503"),
    limited("status-below-400", config(status={"code": "OK"}), shows="429"),
    limited(
        "response-headers",
        config(
            response_headers_to_add=[
                {"header": {"key": "x-one", "value": "1"}},
                {"header": {"key": "x-path", "value": "%REQ(:PATH)%"}},
                {"header": {"key": "x-one", "value": "2"}},
            ],
            **X_HEADERS,
        ),
        shows="x-path: /2",
    ),
    limited(
        "x-headers", config(token_bucket=bucket(2, "100s"), **X_HEADERS), get("/1"), 0.1, get("/2"), 0.1, get("/3")
    ),
    limited("x-headers-refill", config(token_bucket=bucket(3, "100s", 2), **X_HEADERS), get("/1"), 0.1, get("/2")),
    limited("x-headers-not-enforced", config(filter_enforced=_NONE, **X_HEADERS)),
    limited("refills", config(token_bucket=bucket(1, "1s")), get("/1"), 0.3, get("/2"), 1.2, get("/3")),
    limited("refills-in-part", config(token_bucket=bucket(4, "2s", 4)), *(get("/"), 0.05) * 6, 0.8, get("/7")),
    limited("no-bucket", config(token_bucket=None)),
    limited("no-bucket-x-headers", config(token_bucket=None, **X_HEADERS)),
    limited(
        "no-bucket-descriptor",
        config(token_bucket=None, descriptors=[FOR_GENERIC], rate_limits=[{"actions": GENERIC}], **X_HEADERS),
    ),
    limited(
        "per-route",
        config(token_bucket=bucket(100)),
        per_route=config(status={"code": "NotFound"}),
        shows="404",
    ),
    limited("per-route-only", {"stat_prefix": "$case"}, per_route=config(), shows="429"),
    limited("per-route-disabled", config(), per_route={"stat_prefix": "$case", "token_bucket": ONE}),
    limited(
        "per-connection",
        config(local_rate_limit_per_downstream_connection=True),
        get("/1"),
        0.1,
        get("/2"),
        shows="429",
    ),
    limited(
        "bucket-is-shared-by-connections",
        config(),
        get("/1", "connection: close"),
        shows="200",
    ),
    # What the route says of a request.
    by_action("generic-key", GENERIC, [("generic_key", "g")], shows="429"),
    by_action(
        "generic-key-named",
        [{"generic_key": {"descriptor_key": "n", "descriptor_value": "g"}}],
        [("n", "g")],
        shows="429",
    ),
    by_action("generic-key-other", GENERIC, [("generic_key", "other")], shows="200"),
    by_action("header", [header_action("x-a")], [("k", "1")], *TWICE, shows="429"),
    by_action("header-repeated", [header_action("x-a")], [("k", "1,2")], *(get("/", "x-a: 1", "x-a: 2"), 0.1) * 2),
    by_action("header-repeated-first", [header_action("x-a")], [("k", "1")], *(get("/", "x-a: 1", "x-a: 2"), 0.1) * 2),
    by_action("header-path", [header_action(":path")], [("k", "/1")], get("/1"), 0.1, get("/1"), shows="429"),
    by_action("two-actions", [*GENERIC, header_action("x-a")], [("generic_key", "g"), ("k", "1")], *TWICE),
    by_action("two-actions-other-order", [*GENERIC, header_action("x-a")], [("k", "1"), ("generic_key", "g")], *TWICE),
    by_action("two-actions-one-missing", [*GENERIC, header_action("x-z")], [("generic_key", "g")], *TWICE),
    by_action(
        "two-actions-one-skipped",
        [*GENERIC, header_action("x-z", skip_if_absent=True)],
        [("generic_key", "g")],
        *TWICE,
        shows="429",
    ),
    by_action(
        "query",
        [{"query_parameters": {"query_parameter_name": "q", "descriptor_key": "k"}}],
        [("k", "a b")],
        *(get("/?p=1&q=a%20b&q=z"), 0.1) * 2,
        get("/?p=1"),
        shows="429",
    ),
    by_action("remote-address", [{"remote_address": {}}], [("remote_address", "127.0.0.1")], shows="429"),
    by_action(
        "masked-remote-address",
        [{"masked_remote_address": {"v4_prefix_mask_len": 16}}],
        [("masked_remote_address", "127.0.0.0/16")],
        shows="429",
    ),
    by_action(
        "masked-remote-address-default",
        [{"masked_remote_address": {}}],
        [("masked_remote_address", "127.0.0.1/32")],
        shows="429",
    ),
    by_action("source-cluster", [{"source_cluster": {}}], [("source_cluster", "parity-cluster")]),
    by_action("destination-cluster", [{"destination_cluster": {}}], [("destination_cluster", "$up")], shows="429"),
    by_action(
        "header-value-match",
        [
            {
                "header_value_match": {
                    "descriptor_value": "m",
                    "headers": [{"name": "x-a", "string_match": {"exact": "1"}}],
                }
            }
        ],
        [("header_match", "m")],
        *TWICE,
        shows="429",
    ),
    by_action(
        "header-value-no-match",
        [
            {
                "header_value_match": {
                    "descriptor_value": "m",
                    "expect_match": False,
                    "descriptor_key": "z",
                    "headers": [{"name": "x-a", "string_match": {"exact": "1"}}],
                }
            }
        ],
        [("z", "m")],
        *TWICE,
        shows="429",
    ),
    by_action(
        "query-value-match",
        [
            {
                "query_parameter_value_match": {
                    "descriptor_value": "m",
                    "query_parameters": [{"name": "q", "string_match": {"exact": "1"}}],
                }
            }
        ],
        [("query_match", "m")],
        *(get("/?q=1"), 0.1) * 2,
        get("/?q=2"),
        shows="429",
    ),
    by_action(
        "metadata-of-the-route",
        [
            {
                "metadata": {
                    "descriptor_key": "k",
                    "source": "ROUTE_ENTRY",
                    "metadata_key": {"key": "ns", "path": [{"key": "a"}, {"key": "b"}]},
                }
            }
        ],
        [("k", "v")],
        route={"metadata": {"filter_metadata": {"ns": {"a": {"b": "v"}}}}},
        shows="429",
    ),
    by_action(
        "metadata-default",
        [
            {
                "metadata": {
                    "descriptor_key": "k",
                    "default_value": "d",
                    "metadata_key": {"key": "ns", "path": [{"key": "a"}]},
                }
            }
        ],
        [("k", "d")],
        shows="429",
    ),
    by_action(
        "metadata-skipped",
        [
            *GENERIC,
            {
                "metadata": {
                    "descriptor_key": "k",
                    "skip_if_absent": True,
                    "metadata_key": {"key": "ns", "path": [{"key": "a"}]},
                }
            },
        ],
        [("generic_key", "g")],
        shows="429",
    ),
    by_action(
        "format",
        [{"generic_key": {"descriptor_key": "n", "descriptor_value": "%REQ(x-a)%"}}],
        [("n", "1")],
        *TWICE,
    ),
    by_action(
        "header-value-match-format",
        [{"header_value_match": {"descriptor_value": "%REQ(x-a)%", "headers": [{"name": "x-a"}]}}],
        [("header_match", "1")],
        *TWICE,
    ),
    # What the filter itself says.
    limited(
        "own-rate-limits",
        config(
            token_bucket=bucket(100),
            descriptors=[FOR_GENERIC],
            rate_limits=[{"actions": GENERIC}],
        ),
        action={"rate_limits": [{"actions": [header_action("x-a")]}]},
        shows="429",
    ),
    limited(
        "default-bucket-as-well",
        config(
            descriptors=[described(("generic_key", "g"), tokens=9)], rate_limits=[{"actions": GENERIC}], **X_HEADERS
        ),
        shows="429",
    ),
    limited(
        "default-bucket-not",
        config(
            descriptors=[described(("generic_key", "g"), tokens=9)],
            rate_limits=[{"actions": GENERIC}],
            always_consume_default_token_bucket=False,
            **X_HEADERS,
        ),
    ),
    limited(
        "two-descriptors",
        config(
            token_bucket=bucket(100),
            descriptors=[
                described(("generic_key", "g"), tokens=9, interval="10s"),
                described(("k", "1"), tokens=1, interval="20s"),
            ],
            rate_limits=[{"actions": GENERIC}, {"actions": [header_action("x-a")]}],
            **X_HEADERS,
        ),
        *TWICE,
    ),
    limited(
        "any-value",
        config(
            token_bucket=bucket(100),
            descriptors=[described(("k", ""))],
            rate_limits=[{"actions": [header_action("x-a")]}],
        ),
        *TWICE,
        0.1,
        get("/5", "x-a: 2"),
        shows="429",
    ),
    limited(
        "any-value-few-kept",
        config(
            token_bucket=bucket(100),
            descriptors=[described(("k", ""))],
            rate_limits=[{"actions": [header_action("x-a")]}],
            max_dynamic_descriptors=1,
        ),
        *TWICE,
        0.1,
        get("/5", "x-a: 1"),
    ),
    hits("two", {"number": 2}, shows="429"),
    hits("zero", {"number": 0}),
    hits("of-a-header", {"format": "%REQ(x-h)%"}, *(get("/", "x-h: 2"), 0.1) * 2),
    hits("of-no-header", {"format": "%REQ(x-h)%"}),
    hits(
        "of-no-number",
        {"format": "%REQ(x-h)%"},
        get("/", "x-h: two"),
        0.1,
        get("/", "x-h: -1"),
        0.1,
        get("/", "x-h: 1.5"),
    ),
    limited(
        "stage",
        config(token_bucket=bucket(100), descriptors=[FOR_GENERIC], stage=1),
        get("/1"),
        0.1,
        get("/2"),
        action={"rate_limits": [{"actions": GENERIC, "stage": 1}]},
        shows="429",
    ),
    limited(
        "other-stage",
        config(token_bucket=bucket(100), descriptors=[FOR_GENERIC], stage=1),
        action={"rate_limits": [{"actions": GENERIC, "stage": 2}, {"actions": GENERIC}]},
        shows="200",
    ),
    *[
        limited(
            f"virtual-host-{option.lower()}{'-own' if own else ''}{f'-include-{include}' if include is not None else ''}",
            config(token_bucket=bucket(100), descriptors=[FOR_GENERIC], vh_rate_limits=option),
            vhost=json.dumps({"rate_limits": [{"actions": GENERIC}]}),
            action={
                **({"rate_limits": [{"actions": [header_action("x-a")]}]} if own else {}),
                **({"include_vh_rate_limits": include} if include is not None else {}),
            },
        )
        for option in ("OVERRIDE", "INCLUDE", "IGNORE")
        for own in (False, True)
        for include in (None, True, False)
    ],
    limited(
        "other-filters-disable-key",
        config(token_bucket=bucket(100), descriptors=[FOR_GENERIC]),
        action={"rate_limits": [{"actions": GENERIC, "disable_key": "off"}]},
        bootstrap="layered_runtime: {layers: [{name: s, static_layer: {ratelimit.off.http_filter_enabled: 0}}]}",
        alone=True,
    ),
]
