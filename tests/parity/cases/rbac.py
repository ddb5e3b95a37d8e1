"""Access control: what rules hold for which request, and 682 spellings of one path under four ways to normalise it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..case import Case, client, get

_TYPE = "envoy.extensions.filters.http.rbac.v3.RBAC"
_PER_ROUTE = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute"
_LOG = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %REQ(:PATH)% %DYNAMIC_METADATA(envoy.filters.http.rbac)% %UPSTREAM_CLUSTER%\n"
_ANY = {"any": True}


def policies(**named: tuple[Any, Any]) -> dict[str, Any]:
    """Name -> permission and principal."""
    return {
        name: {"permissions": [permission], "principals": [principal]}
        for name, (permission, principal) in named.items()
    }


def controlled(
    name: str,
    config: dict[str, Any],
    *requests: str | float,
    per_route: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    before: list[dict[str, Any]] | None = None,
    **more: Any,
) -> Case:
    entry: dict[str, Any] = {"match": {"prefix": "/"}, "route": {"cluster": "$up"}}
    if per_route is not None:
        entry["typed_per_filter_config"] = {"rbac": {"@type": _PER_ROUTE, **per_route}}
    if metadata is not None:
        entry["metadata"] = {"filter_metadata": metadata}
    return Case(
        f"rbac-{name}",
        tuple(requests) or (get("/a"),),
        filters=json.dumps([*(before or []), {"name": "rbac", "typed_config": {"@type": _TYPE, **config}}]),
        routes=json.dumps([entry]),
        timing=False,
        stats=r"^http\.$case\.rbac",
        log=_LOG,
        **more,
    )


def allowing(name: str, permission: Any, *requests: str | float, principal: Any = _ANY, **more: Any) -> Case:
    rules = {"action": "ALLOW", "policies": policies(p=(permission, principal))}
    return controlled(name, {"rules": rules}, *requests, **more)


def identified(name: str, principal: Any, *requests: str | float, **more: Any) -> Case:
    return allowing(f"principal-{name}", _ANY, *requests, principal=principal, **more)


def header(value: dict[str, Any] | None = None, name: str = "x-a", **more: Any) -> dict[str, Any]:
    return {"header": {"name": name, **({"string_match": value} if value else {}), **more}}


def path(value: dict[str, Any]) -> dict[str, Any]:
    return {"url_path": {"path": value}}


def noted(value: dict[str, Any], *keys: str, **more: Any) -> dict[str, Any]:
    return {"filter": "ns", "path": [{"key": key} for key in keys], "value": value, **more}


SET = [
    {
        "name": "set",
        "typed_config": {
            "@type": "envoy.extensions.filters.http.set_metadata.v3.Config",
            "metadata_namespace": "ns",
            "value": {"text": "a", "number": 2.5, "yes": True, "list": ["x", "y"], "nested": {"k": "v"}, "none": None},
        },
    }
]
TWO = (get("/a", "x-a: 1"), 0.1, get("/b", "x-a: 2"))

# How a path may be written: what may stand before "admin", and what may follow it.
BEFORE = (
    *("/", "//", "/./", "/../", "/../../", "/x/../", "/x/./../", "/x//../", "/a/b/../../", "/x/%2e%2e/", "/x/.%2e/"),
    *("/x/%2E./", "/%2e/", "/%2f", "/%2F", "/%5c", "/\\", "/x\\..\\", "/x/..%2f", "/x/..%5c", "/x%2f..%2f", "/..;/"),
    *(
        "/x/..;/",
        "/x/..;a=b/",
        "/;x/",
        "/x/%252e%252e/",
        "/%252f",
        "/%c0%ae%c0%ae/",
        "/x/..%00/",
        "/x/.../",
        "/%2e%2e%2f",
    ),
)
AFTER = (
    *("", "/", "/.", "/..", "//", "?x", "?/../", "/../admin", "/x", "/x/..", ";a", ";a=b/", ".", "%2e", "/%2e", "%2f"),
    *("%5c", "\\", "%00", "%20", "%23", "%3f"),
)
MORE = (
    "/ADMIN",
    "/%61dmin",
    "/%61%64%6d%69%6e",
    "/adm%69n",
    "/admi%6E",
    "/%2561dmin",
    "/adm\u00efn",
    "/admin#",
    "/x/../ADMIN",
)
SPELLINGS = [before + "admin" + after for before in BEFORE for after in AFTER] + list(MORE)
MODES = {
    "none": "",
    "base": "{normalize_path: true}",
    "merge": "{normalize_path: true, merge_slashes: true}",
    "decode-and-merge": (
        "{normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD}"
    ),
}
_AT_ONCE = 100
_SAY_PATH = """
- match: {prefix: /}
  direct_response: {status: 200}
  response_headers_to_add: [{header: {key: x-path, value: '%REQ(:PATH)%'}}]
"""


def spelled() -> Iterator[Case]:
    """Whatever Envoy denies must be denied: each spelling on a connection of its own, a hundred to a case.

    CVE-2019-9901, CVE-2021-29492, CVE-2021-31920, CVE-2021-32779, CVE-2026-73551 and CVE-2026-73553 are about such paths.
    """
    rules = {"action": "DENY", "policies": policies(admin=(path({"prefix": "/admin"}), _ANY))}
    for mode, hcm in MODES.items():
        for first in range(0, len(SPELLINGS), _AT_ONCE):
            yield Case(
                f"rbac-paths-{mode}-{first}",
                clients=tuple(
                    client(get(each, "connection: close"), timing=False) for each in SPELLINGS[first : first + _AT_ONCE]
                ),
                filters=json.dumps([{"name": "rbac", "typed_config": {"@type": _TYPE, "rules": rules}}]),
                routes=_SAY_PATH,
                hcm=hcm,
                compare_log=False,  # of a path that can't be normalised Envoy logs what it had made of it so far
                log=_LOG,
            )


CASES = [
    # Actions, and what they leave behind.
    controlled("empty", {}),
    controlled("empty-rules", {"rules": {}}, shows="403"),
    controlled("allow-none", {"rules": {"action": "ALLOW"}}),
    controlled("deny-none", {"rules": {"action": "DENY"}}, shows="200"),
    controlled("log-none", {"rules": {"action": "LOG"}}, shows="200"),
    controlled("allow", {"rules": {"action": "ALLOW", "policies": policies(p=(_ANY, _ANY))}}, shows="200"),
    controlled("deny", {"rules": {"action": "DENY", "policies": policies(p=(_ANY, _ANY))}}, shows="policy[p]"),
    controlled(
        "deny-other-name",
        {"rules": {"action": "DENY", "policies": policies(p=(_ANY, _ANY))}},
        cluster="{alt_stat_name: another}",
        shows="another",
    ),
    controlled("log", {"rules": {"action": "LOG", "policies": policies(p=(_ANY, _ANY))}}, shows="200"),
    controlled(
        "first-by-name",
        {"rules": {"action": "DENY", "policies": policies(z=(_ANY, _ANY), b=(_ANY, _ANY), a=(header(), _ANY))}},
        *TWO,
        0.1,
        get("/c"),
    ),
    controlled("shadow", {"shadow_rules": {"action": "DENY", "policies": policies(p=(_ANY, _ANY))}}, shows="200"),
    controlled(
        "shadow-and-rules",
        {"rules": {"action": "ALLOW"}, "shadow_rules": {"action": "ALLOW", "policies": policies(p=(_ANY, _ANY))}},
        shows="403",
    ),
    controlled(
        "prefixes",
        {
            "rules": {"action": "ALLOW", "policies": policies(p=(_ANY, _ANY))},
            "shadow_rules": {"action": "DENY", "policies": policies(q=(_ANY, _ANY))},
            "rules_stat_prefix": "real_",
            "shadow_rules_stat_prefix": "dry_",
        },
    ),
    controlled(
        "each-policy",
        {
            "rules": {"action": "ALLOW", "policies": policies(p=(header({"exact": "1"}), _ANY), q=(_ANY, _ANY))},
            "shadow_rules": {"action": "DENY", "policies": policies(s=(header({"exact": "2"}), _ANY))},
            "shadow_rules_stat_prefix": "dry",
            "track_per_rule_stats": True,
        },
        *TWO,
    ),
    controlled("grpc", {"rules": {}}, get("/", "content-type: application/grpc")),
    controlled("head", {"rules": {}}, get("/", method="HEAD")),
    controlled("per-route-off", {"rules": {}}, per_route={}, shows="200"),
    controlled(
        "per-route", {"rules": {}}, per_route={"rbac": {"rules": {"policies": policies(p=(_ANY, _ANY))}}}, shows="200"
    ),
    # Permissions.
    allowing("header-exact", header({"exact": "1"}), *TWO),
    allowing("header-prefix", header({"prefix": "1"}), get("/", "x-a: 12"), shows="200"),
    allowing("header-present", header(present_match=True), get("/"), 0.1, get("/", "x-a: 1")),
    allowing("header-inverted", header({"exact": "1"}, invert_match=True), *TWO, 0.1, get("/c")),
    allowing("header-twice", header({"exact": "1"}), get("/", "x-a: 1", "x-a: 2"), 0.1, get("/", "x-a: 2", "x-a: 1")),
    allowing("header-twice-joined", header({"exact": "1,2"}), get("/", "x-a: 1", "x-a: 2")),
    allowing(
        "header-twice-inverted",
        header({"exact": "1"}, invert_match=True),
        get("/", "x-a: 1", "x-a: 2"),
        0.1,
        get("/", "x-a: 2", "x-a: 3"),
    ),
    allowing("header-method", header({"exact": "GET"}, name=":method"), get("/"), 0.1, get("/", method="PUT")),
    allowing("header-authority", header({"exact": "h.test"}, name=":authority"), shows="200"),
    allowing("header-host", header({"exact": "h.test"}, name="host"), shows="200"),
    allowing("header-path", header({"prefix": "/a"}, name=":path"), get("/a?b"), 0.1, get("/b?/a")),
    allowing("path-exact", path({"exact": "/a"}), get("/a"), 0.1, get("/a?b=c"), 0.1, get("/ab")),
    allowing("path-prefix", path({"prefix": "/a"}), get("/a/b"), 0.1, get("/b/a")),
    allowing("path-case", path({"exact": "/A", "ignore_case": True}), get("/a")),
    allowing("path-regex", path({"safe_regex": {"regex": "/[a-z]+"}}), get("/abc"), 0.1, get("/abc1")),
    allowing("port", {"destination_port": 1}),
    allowing("port-own", {"destination_port": 0}),
    allowing("port-range", {"destination_port_range": {"start": 1024, "end": 65536}}, shows="200"),
    allowing("port-range-out", {"destination_port_range": {"start": 1, "end": 1024}}, shows="403"),
    allowing("ip", {"destination_ip": {"address_prefix": "127.0.0.0", "prefix_len": 8}}, shows="200"),
    allowing("ip-other", {"destination_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}, shows="403"),
    allowing("server-name-empty", {"requested_server_name": {"exact": ""}}),
    allowing("server-name", {"requested_server_name": {"suffix": ".test"}}),
    allowing("and", {"and_rules": {"rules": [header({"exact": "1"}), path({"exact": "/a"})]}}, *TWO),
    allowing("or", {"or_rules": {"rules": [header({"exact": "2"}), path({"exact": "/a"})]}}, *TWO, 0.1, get("/c")),
    allowing("not", {"not_rule": header({"exact": "1"})}, *TWO),
    allowing("not-not", {"not_rule": {"not_rule": header({"exact": "1"})}}, *TWO),
    # Metadata.
    *[
        allowing(f"metadata-{name}", {"metadata": matcher}, before=SET)
        for name, matcher in {
            "text": noted({"string_match": {"exact": "a"}}, "text"),
            "text-other": noted({"string_match": {"exact": "b"}}, "text"),
            "inverted": noted({"string_match": {"exact": "b"}}, "text", invert=True),
            "number": noted({"double_match": {"exact": 2.5}}, "number"),
            "range": noted({"double_match": {"range": {"start": 2, "end": 2.5}}}, "number"),
            "bool": noted({"bool_match": True}, "yes"),
            "present": noted({"present_match": True}, "text"),
            "absent": noted({"present_match": False}, "nowhere"),
            "not-absent": noted({"present_match": True}, "nowhere"),
            "list": noted({"list_match": {"one_of": {"string_match": {"exact": "y"}}}}, "list"),
            "list-not": noted({"list_match": {"one_of": {"string_match": {"exact": "z"}}}}, "list"),
            "nested": noted({"string_match": {"exact": "v"}}, "nested", "k"),
            "present-null": noted({"present_match": True}, "none"),
            "absent-there": noted({"present_match": False}, "text"),
            "absent-inverted": noted({"present_match": True}, "nowhere", invert=True),
            "null": noted({"null_match": {}}, "none"),
            "null-absent": noted({"null_match": {}}, "nowhere"),
            "or": noted(
                {"or_match": {"value_matchers": [{"bool_match": True}, {"string_match": {"exact": "a"}}]}}, "text"
            ),
        }.items()
    ],
    allowing(
        "sourced-dynamic", {"sourced_metadata": {"metadata_matcher": noted({"bool_match": True}, "yes")}}, before=SET
    ),
    allowing(
        "sourced-route",
        {"sourced_metadata": {"metadata_matcher": noted({"bool_match": True}, "yes"), "metadata_source": "ROUTE"}},
        metadata={"ns": {"yes": True}},
        shows="200",
    ),
    allowing(
        "sourced-route-not-dynamic",
        {"sourced_metadata": {"metadata_matcher": noted({"bool_match": True}, "yes"), "metadata_source": "ROUTE"}},
        before=SET,
        shows="403",
    ),
    # Principals.
    *[
        identified(
            f"{kind}-{name}",
            {kind: {"address_prefix": prefix, "prefix_len": length}},
            get("/", "x-forwarded-for: 10.1.2.3"),
            hcm=hcm,
        )
        for kind in ("remote_ip", "direct_remote_ip", "source_ip")
        for name, prefix, length, hcm in [
            ("loopback", "127.0.0.1", 32, ""),
            ("forwarded", "10.0.0.0", 8, ""),
            ("forwarded-trusted", "10.0.0.0", 8, "{use_remote_address: true, xff_num_trusted_hops: 1}"),
            ("zero", "0.0.0.0", 0, ""),
            ("v6", "::", 0, ""),
        ]
    ],
    identified("header", header({"exact": "1"}), *TWO),
    identified("path", path({"exact": "/a"}), *TWO),
    identified("authenticated", {"authenticated": {}}, shows="403"),
    identified("authenticated-name", {"authenticated": {"principal_name": {"exact": "spiffe://a"}}}),
    identified("authenticated-any-name", {"authenticated": {"principal_name": {"safe_regex": {"regex": ".*"}}}}),
    identified("and", {"and_ids": {"ids": [header({"exact": "1"}), path({"exact": "/a"})]}}, *TWO),
    identified("or", {"or_ids": {"ids": [header({"exact": "2"}), path({"exact": "/a"})]}}, *TWO, 0.1, get("/c")),
    identified("not", {"not_id": header({"exact": "1"})}, *TWO),
    identified("metadata", {"metadata": noted({"bool_match": True}, "yes")}, before=SET),
    *spelled(),
]
