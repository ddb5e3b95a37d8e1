import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from meshproxy.routing.path import PathRedirect, merge_slashes, normalize_path, path_sanitizer, unescape_slashes

TABLE = json.loads(Path(__file__).with_name("paths.json").read_text())
SANITIZERS = {
    "normalize": path_sanitizer(normalize=True),
    "merge": path_sanitizer(merge=True),
    "normalize+merge": path_sanitizer(normalize=True, merge=True),
    "forward": path_sanitizer(normalize=True, merge=True, escaped_slashes="UNESCAPE_AND_FORWARD"),
    "redirect": path_sanitizer(normalize=True, merge=True, escaped_slashes="UNESCAPE_AND_REDIRECT"),
    "reject": path_sanitizer(normalize=True, merge=True, escaped_slashes="REJECT_REQUEST"),
    "forward_only": path_sanitizer(escaped_slashes="UNESCAPE_AND_FORWARD"),
}
SPELLINGS = st.lists(
    st.sampled_from(["a", "admin", ".", "..", "/", "//", "\\", "%2e", "%2E", "%2f", "%5C", "%", "%4", "%41", ";", "?"])
    | st.characters(min_codepoint=33, max_codepoint=126),
    max_size=12,
).map(lambda parts: "/" + "".join(parts).replace("#", ""))


def _show(result: str | PathRedirect | None) -> str:
    if result is None:
        return "400"
    return f"307 {result.path}" if isinstance(result, PathRedirect) else result


@pytest.mark.parametrize("settings_", TABLE["columns"][1:])
def test_every_spelling_is_what_envoy_makes_of_it(settings_: str) -> None:
    column = TABLE["columns"].index(settings_)
    sanitize = SANITIZERS[settings_]
    assert len(TABLE["rows"]) > 300
    wrong = [
        (row[0], row[column], got)
        for row in TABLE["rows"]
        for _ in range(2)  # the second time from memory
        if (got := _show(sanitize(row[0]))) != row[column]
    ]
    assert wrong == []


@given(SPELLINGS)
@example("/%2%41")
@example("/%%34%31")
@example("/..;x/.;/..")
@settings(max_examples=300)
def test_normal_is_normal_and_has_no_dot_segments(path: str) -> None:
    normal = normalize_path(path)
    if normal is None:
        assert "%00" in path
        return
    if not re.search(r"/\.\.?;", normal):
        assert normalize_path(normal) == normal
    assert normal.startswith("/")
    bare = normal.partition("?")[0]
    assert not {".", ".."}.intersection(bare.split("/"))
    assert "\\" not in bare
    assert normal.partition("?")[2] == path.partition("?")[2]


@given(SPELLINGS)
def test_unescaping_leaves_no_hidden_slash(path: str) -> None:
    result = SANITIZERS["forward"](path)
    if isinstance(result, str):
        bare = result.partition("?")[0]
        assert re.search("%2f|%5c", unescape_slashes(path).partition("?")[0], re.I) or not re.search(
            "%2f|%5c", bare, re.I
        )
        assert "//" not in bare or bare == "//"


@pytest.mark.parametrize("path", ["/", "/a", "/a/b-c_d~e/", "/a.b/c..d?x=%2e%2e/../&y", "/a?//", "/;a=b/@:c", "/[x]"])
def test_a_normal_path_comes_back_as_the_same_object(path: str) -> None:
    fresh = "".join([path])
    assert normalize_path(fresh) == fresh
    for name in ("normalize", "merge", "normalize+merge", "forward"):
        assert SANITIZERS[name](fresh) is fresh


def test_nothing_set_changes_nothing() -> None:
    assert path_sanitizer()("/a/../%00//") == "/a/../%00//"


def test_fragment() -> None:
    assert path_sanitizer()("/a#b") is None
    strip = path_sanitizer(normalize=True, reject_fragment=False)
    assert strip("/a/../b#/../c") == "/b"
    assert strip("/a?b#c") == "/a?b"
    assert strip("/#") == "/"


def test_the_memory_of_paths_is_bounded_and_forgets_nothing_that_matters() -> None:
    sanitize = path_sanitizer(normalize=True)
    for number in range(5000):
        assert sanitize(f"/{number}") == f"/{number}"
    assert sanitize("/a/../4999") == "/4999"
    kept = [cell.cell_contents for cell in sanitize.__closure__ or () if isinstance(cell.cell_contents, dict)]
    assert [len(table) <= 1024 for table in kept] == [True]


def test_pieces() -> None:
    assert merge_slashes("a//b?x//y") == "a/b?x//y"
    assert unescape_slashes("/%2f%5C?%2f") == "//\\?%2f"
    with pytest.raises(ValueError, match="SOMETHING"):
        path_sanitizer(escaped_slashes="SOMETHING")
