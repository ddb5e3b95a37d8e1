"""The entry points of the installed distributions, found without `importlib.metadata`.

That module brings the parsers of mail, archives and tables with it, and took a twelfth of the program's start. What is
read here is the common case, distributions that lie unpacked in folders of `sys.path`
(https://packaging.python.org/specifications/entry-points/). With archives on the path the standard module is asked.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, NamedTuple

_separators = re.compile(r"[-_.]+")
_MARKS = (".dist-info", ".egg-info")


class EntryPoint(NamedTuple):
    """An object that a distribution offers. value: `module:attribute`. distribution: its name, "" if unknown."""

    name: str
    value: str
    distribution: str = ""

    def load(self) -> Any:
        """Import the module and return the object. Raises whatever that raises."""
        module, _, attribute = self.value.partition("[")[0].partition(":")
        loaded = importlib.import_module(module.strip())
        return attrgetter(attribute.strip())(loaded) if attribute else loaded


def entry_points(group: str) -> list[EntryPoint]:
    """Those of one group. Of a distribution that is installed twice the first on the path counts."""
    if any(os.path.isfile(folder) for folder in sys.path):
        from importlib.metadata import entry_points as found

        return [EntryPoint(one.name, one.value, one.dist.name if one.dist else "") for one in found(group=group)]
    texts: dict[str, tuple[str, str]] = {}
    for folder in sys.path:
        for name, distribution, text in _declarations(folder or "."):
            texts.setdefault(name, (distribution, text))
    return [
        EntryPoint(name, value, distribution)
        for distribution, text in texts.values()
        for name, value in _section(text, group)
    ]


def _declarations(folder: str) -> Iterator[tuple[str, str, str]]:
    """The distributions in one folder: the name to compare, the name to tell, and the text of the entry points."""
    try:
        entries = os.listdir(folder)
    except OSError:  # a path may name what isn't there
        return
    for entry in entries:
        if entry.endswith(_MARKS):
            distribution = entry.rpartition(".")[0].partition("-")[0]
            try:
                with open(os.path.join(folder, entry, "entry_points.txt"), encoding="utf-8") as file:
                    text = file.read()
            except OSError:  # most distributions have none
                text = ""
            yield _separators.sub("-", distribution).lower(), distribution, text


def _section(text: str, group: str) -> Iterator[tuple[str, str]]:
    inside = False
    for line in map(str.strip, text.splitlines()):
        if line.startswith("["):
            inside = line == f"[{group}]"
        elif inside and "=" in line and not line.startswith("#"):
            name, _, value = line.partition("=")
            yield name.strip(), value.strip()
