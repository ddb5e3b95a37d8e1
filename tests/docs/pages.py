"""The repository's pages as data: their links, their code, and the names they mention."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CODE = ("meshproxy", "filters", "iptables", "scripts", "examples")

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)
_MENTION = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def pages() -> list[Path]:
    """Every Markdown page that belongs to the repository."""
    return [
        *sorted(ROOT.glob("*.md")),
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "examples").rglob("*.md")),
    ]


def fences(page: Path, language: str) -> list[str]:
    """The code blocks of a page in a language."""
    return [text for found, text in _FENCE.findall(page.read_text()) if found == language]


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """The targets of a page's links."""
    return _LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as forges make them."""
    headings = _HEADING.findall(prose(page))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def mentions(page: Path) -> list[str]:
    """What stands in backticks in a page's prose."""
    return _MENTION.findall(prose(page))


@functools.cache
def defined() -> frozenset[str]:
    """Every name that the code defines: modules, classes, functions, methods, and the attributes and fields it sets."""
    found: set[str] = set()
    for name, tree in _trees():
        found.add(name)
        found.update(_names(tree))
    return frozenset(found)


@functools.cache
def members() -> dict[str, frozenset[str]]:
    """Per class, what its body and its methods define, without what it inherits; and its bases' names."""
    found: dict[str, frozenset[str]] = {}
    for _, tree in _trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name] = found.get(node.name, frozenset()) | frozenset(_names(node))
    return found


@functools.cache
def _trees() -> list[tuple[str, ast.Module]]:
    return [(source.stem, ast.parse(source.read_text())) for folder in CODE for source in (ROOT / folder).rglob("*.py")]


def _names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield name
            case ast.AnnAssign(target=ast.Name(id=name)) | ast.AnnAssign(target=ast.Attribute(attr=name)):
                yield name
            case ast.Assign(targets=targets):
                for target in targets:
                    if isinstance(target, ast.Name):
                        yield target.id
                    elif isinstance(target, ast.Attribute):
                        yield target.attr
