"""What the pages say is there: links lead somewhere, names stand in the code, commands exist, examples work."""

from __future__ import annotations

import os
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

from meshproxy.config.text.bootstrap_load import Source
from meshproxy.proxy import load_configuration

from .pages import ROOT, anchors, defined, fences, links, members, mentions, pages

LIFE = ROOT / "docs" / "life-of-a-request.md"
README = ROOT / "README.md"
WRITING_FILTERS = ROOT / "docs" / "writing-filters.md"

OF_OTHERS = {
    *("None", "ValueError", "async", "bytes", "def", "re", "requests.get", "self", "time.sleep"),
    *("TypedStruct", "h11", "python3", "uv"),
}
"""Names that are somebody else's: of the language, of libraries, of the system."""

_PATH = re.compile(r"[\w.\-/]+/[\w.\-/]*\Z|[\w\-]+\.(?:py|md|toml|yaml|lock)\Z")
_NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?\Z")


def by_name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", pages(), ids=by_name)
def test_links_lead_somewhere(page: Path) -> None:
    dead = []
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("page", [LIFE, README], ids=by_name)
def test_files_in_backticks_exist(page: Path) -> None:
    files = [name for name in mentions(page) if _PATH.match(name)]
    assert len(files) >= 5
    inside = [ROOT, ROOT / "meshproxy", ROOT / "docs"]
    made = {".venv"}
    assert [name for name in files if name not in made and not any((base / name).exists() for base in inside)] == []


@pytest.mark.parametrize(("page", "least"), [(LIFE, 60), (WRITING_FILTERS, 30)], ids=["life", "filters"])
def test_names_in_backticks_are_defined(page: Path, least: int) -> None:
    names = {name for name in mentions(page) if _NAME.match(name) and not _PATH.match(name)}
    assert len(names) > least
    unknown = []
    for name in sorted(names - OF_OTHERS - fields_of_envoy()):
        owner, _, member = name.rpartition(".")
        if owner and owner in members():
            if member not in members()[owner]:
                unknown.append(name)
        elif not set(name.split(".")) <= defined():
            unknown.append(name)
    assert unknown == []


def fields_of_envoy() -> set[str]:
    """Configuration fields that the page mentions: they are read by name, as strings, somewhere in the compiler."""
    text = "".join(path.read_text() for path in (ROOT / "meshproxy" / "config").rglob("*.py"))
    return set(re.findall(r'"([a-z][a-z_0-9]+)"', text)) | {"date", "server", "NR", "UH"}


def test_no_file_of_the_page_is_left_behind() -> None:
    """The parts of `runtime` that every request passes are told of."""
    told = set(mentions(LIFE))
    downstream = [
        "listener",
        "listener_filters",
        "connection",
        "http_connection",
        "http_manager",
        "http_edge",
        "http_stream",
    ]
    downstream += ["hooks", "original_destination"]
    upstream = ["cluster", "connections/http1_pool", "connections/http1_upstream"]
    main = [f"downstream/{name}" for name in downstream] + [f"upstream/{name}" for name in upstream]
    main.append("reporting/access_log_files")
    assert [name for name in main if f"meshproxy/runtime/{name}.py" not in told] == []


class TestReadme:
    def test_leads_to_every_page(self) -> None:
        expected = {by_name(page) for page in pages() if page.parent in (ROOT, ROOT / "docs")} - {"README.md"}
        assert expected - set(links(README)) == set()

    def test_commands_exist(self) -> None:
        programs = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
        missing = []
        for block in fences(README, "sh"):
            for line in block.splitlines():
                word = shlex.split(line, comments=True)[0]
                program = word.removeprefix(".venv/bin/")
                if program != word:
                    known = program in programs
                elif "/" in word:
                    known = os.access(ROOT / word, os.X_OK)
                else:
                    known = program in {"curl"}
                if not known:
                    missing.append(word)
        assert missing == []

    def test_first_configuration_compiles(self) -> None:
        first = fences(README, "yaml")[0]
        assert first.startswith("# first.yaml")
        snapshot = load_configuration([Source("first.yaml", first)]).snapshot
        assert [listener.name for listener in snapshot.listeners] == ["ingress"]
        assert list(snapshot.clusters) == ["api"]

    def test_filter_passes_its_own_test(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = run_blocks(README, "tenants", monkeypatch)
        assert module.harness.request(headers={"x-tenant": "red"}).local_reply.details == "unknown_tenant"

    def test_entry_point_has_the_name_that_the_configuration_names(self) -> None:
        (toml,) = fences(README, "toml")
        (name,) = tomllib.loads(toml)["project"]["entry-points"]["meshproxy.filters"]
        assert f"type_url: type.googleapis.com/{name}\n" in fences(README, "yaml")[1]


def run_blocks(page: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module that a page's blocks of Python make, in order; they assert what they say."""
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    for block in fences(page, "python"):
        exec(compile(block, page.name, "exec"), module.__dict__)
    return module


def test_filters_of_the_guide_do_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    module = run_blocks(WRITING_FILTERS, "guide", monkeypatch)
    for example in ("Stamp", "Quota", "Region", "Redact", "Greeting"):
        assert example in vars(module)


def test_lock_files_hold_what_the_project_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for asked, lock in (
        (project["dependencies"], "requirements.lock"),
        ([*project["dependencies"], *project["optional-dependencies"]["test"]], "requirements-test.lock"),
    ):
        text = (ROOT / lock).read_text()
        pinned = set(re.findall(r"^([A-Za-z0-9._-]+)==", text, re.MULTILINE))
        names = {re.split(r"[<>=!~ \[]", entry)[0].lower().replace("_", "-") for entry in asked}
        assert names - {name.lower().replace("_", "-") for name in pinned} == set()
        assert "://" not in text
        assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=\S)", text.strip()))


def test_changelog_has_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text.startswith("# Changelog\n")
    kinds = set(re.findall(r"^### (.*)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert "## [Unreleased]" in text
