"""Modules that others import and nobody here uses: loaded when something is first asked of them.

protobuf's pool of descriptors imports the implementation in plain Python, and with it the text format and what that
needs, also where the one in C does all the work.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from types import ModuleType

_UNUSED = frozenset({"google.protobuf.internal.python_message"})


class _Finder:
    @staticmethod
    def find_spec(fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname not in _UNUSED:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = LazyLoader(spec.loader)
        return spec


def install() -> None:
    """Make imports go through the hook; once is enough, more does no harm."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)
