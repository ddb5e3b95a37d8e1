"""Path normalisation, in its modes."""

from __future__ import annotations

from ..case import Case, client, get

PATHS = {
    "dots": "/b/../b//c/%2e%2e/d",
    "encoded": "/x/../b/c/%2e%2e/d%7Ee/.",
    "above-root": "/../../etc",
    "slashes": "//a///b//",
    "encoded-slash": "/b%2Fc?q=%2F",
    "encoded-slash-lower": "/b%2fc",
    "encoded-backslash": "/b%5Cc%5cd",
    "query": "/a/../b?x=/../y//z",
    "double-encoded": "/a/%252e%252e/b",
    "encoded-unreserved": "/%41%62%2D%5f%7e%20%3F",
    "trailing-dot": "/a/..",
    "dot-only": "/.",
    "nul": "/a%00b",
    "empty-segments-and-dots": "/a//../b",
    "dots-in-names": "/a...b/..c/.d/e..",
    "semicolon": "/a;x=1/../b",
    "percent-at-end": "/a/../b%",
    "percent-bad": "/a/../b%zz",
}
MODES = {
    "default": "",
    "normalized": "normalize_path: true",
    "merged": "{normalize_path: true, merge_slashes: true}",
    "merged-only": "merge_slashes: true",
}
ESCAPED = {
    "keep": "KEEP_UNCHANGED",
    "reject": "REJECT_REQUEST",
    "redirect": "UNESCAPE_AND_REDIRECT",
    "forward": "UNESCAPE_AND_FORWARD",
}


def all_paths(mode: str, hcm: str, paths: dict[str, str]) -> Case:
    """One connection for each path: what was made of each stands in what the upstream saw."""
    clients = tuple(client(get(path), start=0.12 * i, timing=False) for i, path in enumerate(paths.values()))
    return Case(f"paths-{mode}", clients=clients, hcm=hcm, flat_upstream=True, sort_log=True)


CASES = [
    *(all_paths(mode, hcm, PATHS) for mode, hcm in MODES.items()),
    *(
        Case(f"path-character-{ord(character):02x}", get(f"/a{character}b?c{character}d"), timing=False)
        for character in "\"'<>^`{}|[]!*~\x7f"
    ),
    *(
        Case(
            f"escaped-slashes-{mode}-{name}",
            get(PATHS[name]),
            hcm=f"{{normalize_path: true, path_with_escaped_slashes_action: {action}}}",
        )
        for mode, action in ESCAPED.items()
        for name in ("encoded-slash", "encoded-slash-lower", "encoded-backslash", "dots")
    ),
    Case(
        "escaped-slashes-forward-and-merge",
        get("/a%2F%2Fb%2F..%2Fc"),
        hcm="{normalize_path: true, merge_slashes: true, path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD}",
    ),
    Case(
        "escaped-slashes-without-normalize", get("/a%2Fb"), hcm="path_with_escaped_slashes_action: UNESCAPE_AND_FORWARD"
    ),
    Case(
        "routes-match-the-normalized-path",
        (get("/x/../admin/%61"), 0.1, get("/adm%69n/b"), 0.1, get("/ADMIN")),
        hcm="normalize_path: true",
        routes="""
- {match: {prefix: /admin}, direct_response: {status: 403}}
- {match: {prefix: /}, route: {cluster: $up}}
""",
        shows="403",
    ),
    Case("backslash", get("/a\\b\\..\\c"), timing=False),
    Case("backslash-normalized", get("/a\\b\\..\\c"), hcm="normalize_path: true", timing=False),
    Case("normalized-absolute-form", get("http://o.test/a/../b"), hcm="normalize_path: true"),
    Case("normalized-shows-in-log", get("/a/./b"), hcm="normalize_path: true"),
    Case(
        "fragment-stripped",
        get("/a?b#c"),
        bootstrap="layered_runtime: {layers: [{name: s, static_layer: {envoy.reloadable_features.http_reject_path_with_fragment: false}}]}",
        alone=True,
    ),
]
