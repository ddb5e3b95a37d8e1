"""Files and command-line text to one bootstrap, read and checked as a whole.

Sources are merged in order as protobuf merges messages (and as Envoy merges `--config-yaml` over `-c`): messages field
by field, lists one behind the other, single values by the later one. Every fault of every source is reported at once;
the rules on values (`constraints`) are checked on the merged whole, since a source may be but a part.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from google.protobuf.message import Message

from meshproxy.config.text.constraints import check_constraints
from meshproxy.config.text.place_merge import merge_places
from meshproxy.config.text.proto_tree import TreeReader
from meshproxy.config.text.protobuf_forms import read_protobuf
from meshproxy.config.text.yaml_tree import compose
from meshproxy.errors import ConfigError, Problem
from meshproxy.messages.by_name import message_class
from meshproxy.plugin.place import Place
from meshproxy.plugin.view import ConfigView
from meshproxy.records import dataclass

BOOTSTRAP = "envoy.config.bootstrap.v3.Bootstrap"
_YAML_SUFFIXES = (".yaml", ".yml")
_MAX_BYTES = 256 * 1024 * 1024
_INDICES = re.compile(r'(?:\["[^"]*"\]|\[[0-9]+\])*\Z')


@dataclass(frozen=True, slots=True)
class Source:
    """One text to read. name: for problems; json: JSON's scalars instead of YAML's. protobuf: instead of the text, a
    message in one of protobuf's own forms (`read_protobuf`).
    """

    name: str
    text: str
    json: bool = False
    protobuf: bytes | str | None = None


@dataclass(frozen=True, slots=True)
class Loaded:
    """A message that was read from text, its view, and what was odd but accepted. unknown: fields that nobody knows."""

    message: Message
    view: ConfigView
    warnings: tuple[Problem, ...] = ()
    unknown: tuple[Problem, ...] = ()


def read_source(path: str | Path) -> Source:
    """Read a configuration file. As for Envoy, .yaml and .yml are YAML in UTF-8, .pb is a packed message, .pb_text one
    in protobuf's text format, and all else is JSON.

    Raises ConfigError for what can't be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(Problem("", f"can't be read: {error.strerror}", str(path))) from None
    if len(content) > _MAX_BYTES:
        raise ConfigError(Problem("", f"larger than {_MAX_BYTES} bytes", str(path)))
    if path.suffix == ".pb":
        return Source(str(path), "", protobuf=content)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise ConfigError(Problem("", "not UTF-8", str(path), line, column)) from None
    if path.suffix == ".pb_text":
        return Source(str(path), "", protobuf=text)
    return Source(str(path), text, path.suffix not in _YAML_SUFFIXES)


def load_bootstrap(sources: Iterable[Source], *, allow_unknown_fields: bool = False) -> Loaded:
    """Read the sources into one `envoy.config.bootstrap.v3.Bootstrap`. Raises ConfigError with every problem found.

    allow_unknown_fields: as Envoy's flag `--allow-unknown-static-fields`: they become warnings.
    """
    return load_message(BOOTSTRAP, sources, allow_unknown_fields=allow_unknown_fields)


def load_message(full_name: str, sources: Iterable[Source], *, allow_unknown_fields: bool = False) -> Loaded:
    """`load_bootstrap` for any message of the API (a file of the file-system subscription is a DiscoveryResponse)."""
    message_type = message_class(full_name)
    if message_type is None:
        raise ValueError(f"no message {full_name!r}")
    merged = message_type()
    merged_place: Place | None = None
    problems: list[Problem] = []
    warnings: list[Problem] = []
    placeless = ""
    with without_collector():
        for source in sources:
            message = merged if merged_place is None else message_type()
            try:
                if source.protobuf is not None:
                    read_protobuf(source.name, source.protobuf, message)
                    place = Place(source.name, 1, 1)
                    placeless = source.name
                else:
                    place = _read_text(source, message, allow_unknown_fields, problems, warnings)
            except ConfigError as error:
                problems += error.problems
                continue
            if merged_place is None:
                merged_place = place
            else:
                merged.MergeFrom(message)
                merge_places(merged.DESCRIPTOR, merged_place, place)
        if merged_place is None and not problems:
            problems.append(Problem("", "no configuration is given"))
        incomplete = _incomplete(problems)
        found, deprecations = check_constraints(merged, merged_place, source=placeless, incomplete=incomplete)
        problems += found
    if problems:
        raise ConfigError(sorted(problems, key=lambda problem: (problem.source, problem.line, problem.column)))
    view = ConfigView(merged, place=merged_place, source=placeless)
    return Loaded(merged, view, (*warnings, *deprecations), tuple(warnings))


def _read_text(
    source: Source, message: Message, allow_unknown: bool, problems: list[Problem], warnings: list[Problem]
) -> Place:
    """Fill `message` from YAML or JSON; what is wrong or odd is added. Raises ConfigError for what is neither."""
    reader = TreeReader(source.name, size=len(source.text), json=source.json, allow_unknown=allow_unknown)
    place = reader.read(compose(source.text, source.name, json=source.json), message)
    problems += reader.problems
    warnings += reader.warnings
    return place


def _incomplete(problems: Iterable[Problem]) -> frozenset[str]:
    """The paths of the messages in which something couldn't be read, and so is missing."""
    holders = {_INDICES.sub("", problem.path).rpartition(".")[0] for problem in problems}
    return frozenset(holders | {problem.path for problem in problems})


@contextmanager
def without_collector() -> Iterator[None]:
    """No cycle collection while a large tree is built: there is nothing to find, and it costs a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
