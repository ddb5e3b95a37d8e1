"""URI templates: which paths have their form, what becomes of variables, and what is no template."""

from __future__ import annotations

import pytest

from meshproxy.uri_template import compile_rewrite, compile_template


@pytest.mark.parametrize(
    ("template", "yes", "no"),
    [
        ("/", ["/"], ["/a", ""]),
        ("/a/{b}", ["/a/x", "/a/x%2Fy", "/a/x=1"], ["/a/", "/a", "/a/x/y", "/a/x/", "/b/x"]),
        ("/a/{b}/", ["/a/x/"], ["/a/x"]),
        ("/a/*/c", ["/a/b/c"], ["/a//c", "/a/b/d/c"]),
        ("/a/**", ["/a/", "/a/b", "/a/b/c/"], ["/a", "/ab"]),
        ("/a/**.mp4", ["/a/b/c.mp4", "/a/.mp4"], ["/a/b.mp3", "/a/bxmp4"]),
        ("/a/{v=x/*/z}/end", ["/a/x/y/z/end"], ["/a/x/z/end", "/a/x/y/end"]),
        ("/a.b", ["/a.b"], ["/axb"]),
    ],
)
def test_which_paths_have_its_form(template: str, yes: list[str], no: list[str]) -> None:
    matches = compile_template(template).matches
    assert [path for path in yes if not matches(path)] == []
    assert [path for path in no if matches(path)] == []


@pytest.mark.parametrize(
    "template",
    [
        *(
            "",
            "a/{b}",
            "/a//b",
            "/a/{b",
            "/a/b}",
            "/a/{}",
            "/a/{1}",
            "/a/{b=}",
            "/a/{b}/{b}",
            "/a b",
            "/a/x*y",
            "/a/***",
        ),
        *(
            "/**/{b}",
            "/{a=**}/*",
            "/{a}/{b}/{c}/{d}/{e}/{f}",
            "/{a123456789012345678}",
            "/{a=b//c}",
            "/a/**.mp4/b",
            "/\xe4",
        ),
    ],
)
def test_what_is_no_template(template: str) -> None:
    with pytest.raises(ValueError):
        compile_template(template)


def test_variables_stand_in_the_rewritten_path() -> None:
    template = compile_template("/a/{who}/{rest=**}")
    rewrite = compile_rewrite(template, "/{rest}/of/{who}.{who}")
    assert rewrite("/a/me/x/y") == "/x/y/of/me.me"
    assert rewrite("/other") == "/other"


@pytest.mark.parametrize("rewrite", ["{who}", "/{nobody}", "/a b", "/{who", "/{}", "/?{who}"])
def test_what_is_no_rewrite(rewrite: str) -> None:
    with pytest.raises(ValueError):
        compile_rewrite(compile_template("/{who}"), rewrite)


def test_cve_2024_23323_a_request_compiles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """CVE-2024-23323: Envoy compiled the expression anew for each request. Here it is compiled once, by RE2."""
    template = compile_template("/{a=**}")
    rewrite = compile_rewrite(template, "/x/{a}")
    monkeypatch.setattr("meshproxy.regex._compile", None)
    path = "/" + "a/" * 50_000
    assert template.matches(path)
    assert rewrite(path) == "/x" + path
