"""What a pod's volumes tell beside the environment: its labels and annotations, and on a machine without Kubernetes the
mesh's configuration.

Labels and annotations come from Kubernetes' downward API, a line `name="value"` each, quoted as Go quotes.
"""

from __future__ import annotations

import ast
import contextlib
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

import yaml

from meshproxy.records import dataclass

LABELS = "etc/istio/pod/labels"
ANNOTATIONS = "etc/istio/pod/annotations"
MESH = "etc/istio/config/mesh"


@dataclass(frozen=True, slots=True)
class PodFiles:
    """None of labels and annotations: there is no such file. default_config: the mesh's `defaultConfig`.

    problems: by file, why it can't be read.
    """

    labels: Mapping[str, str] | None = None
    annotations: Mapping[str, str] | None = None
    default_config: Mapping[str, Any] = field(default_factory=dict)
    problems: Mapping[str, str] = field(default_factory=dict)


NO_FILES = PodFiles()


def read_pod_files(root: Path = Path("."), mesh: str = "") -> PodFiles:
    """Read those of the files that are there, under `root`, the container's working directory. mesh: "" for the usual
    place of the mesh's configuration."""
    problems: dict[str, str] = {}
    found: dict[str, Mapping[str, str] | None] = {}
    for name in (LABELS, ANNOTATIONS):
        text = _read(root / name, problems)
        try:
            found[name] = parse_downward(text) if text is not None else None
        except ValueError as error:
            problems[f"./{name}"] = str(error)
    return PodFiles(
        found.get(LABELS), found.get(ANNOTATIONS), _default_config(root / (mesh or MESH), problems), problems
    )


def _default_config(path: Path, problems: dict[str, str]) -> Mapping[str, Any]:
    text = _read(path, problems)
    if text is None:
        return {}
    try:
        given = (yaml.safe_load(text) or {}).get("defaultConfig") or {}
        return {str(name): value for name, value in given.items()}
    except (yaml.YAMLError, AttributeError, RecursionError) as error:
        problems[str(path)] = " ".join(str(error).split())[:200]
        return {}


def _read(path: Path, problems: dict[str, str]) -> str | None:
    try:
        return path.read_text()
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        problems[str(path)] = str(error)
        return None


def parse_downward(text: str) -> dict[str, str]:
    """Names and values of a file of the downward API. Raises ValueError for a line that is none."""
    found = {}
    for line in text.splitlines():
        name, equals, quoted = line.partition("=")
        if not line.strip():
            continue
        value = None
        with contextlib.suppress(ValueError, SyntaxError):
            value = ast.literal_eval(quoted)
        if not equals or not quoted.startswith('"') or not isinstance(value, str):
            raise ValueError(f'{line[:80]!r} is not of the form name="value"')
        found[name] = value
    return found
