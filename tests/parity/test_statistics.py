"""Finding a case's statistics: quickly, and the same ones."""

from __future__ import annotations

import pytest

from .statistics import Statistics, needs

TEXT = "http.a.rq: 1\nhttp.a-b.rq: 2\nserver.live: 1\nlistener.127.0.0.1_8080.cx: 3\ncluster.a.up.rq: 4\nx.y: a\n"


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (r"^http\.a\.", ["http.a.rq"]),
        (r"^http\.a", ["http.a.rq", "http.a-b.rq"]),
        (r"^cluster\.a\.|^http\.a\.", ["http.a.rq", "cluster.a.up.rq"]),
        (r"^(http|cluster)\.a\.", ["http.a.rq", "cluster.a.up.rq"]),
        (r"_8080\.cx", ["listener.127.0.0.1_8080.cx"]),
        (r"^http\.a\.|^server\.", ["http.a.rq", "server.live"]),
        (r"(\.a\.|live)", ["http.a.rq", "server.live", "cluster.a.up.rq"]),
        (r"^(x)\.y|[a]\.nothing", ["x.y"]),
        (r"^nothing\.a", []),
    ],
)
def test_the_lines_that_match(pattern: str, names: list[str]) -> None:
    found = Statistics(TEXT).wanted(pattern, ["a", "8080"])
    assert [line.partition(": ")[0] for line in found] == names


@pytest.mark.parametrize(
    "pattern",
    [r"^http\.name\.", r"name|x\.name", r"^(x|y)\.name", r"^(x\.name|(y|name)\.name)\.(a|b)$", r"(?:name)+", r"\d8080"],
)
def test_patterns_that_need_a_word(pattern: str) -> None:
    assert needs(pattern, ["name", "8080"])


@pytest.mark.parametrize(
    "pattern", [r"^http\.", r"name|x", r"(x|name)", r"(name)?", r"[name]", r"n(x)ame", r"(?!name)x"]
)
def test_patterns_that_do_not(pattern: str) -> None:
    assert not needs(pattern, ["name", "8080"])
