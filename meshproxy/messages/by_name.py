"""Protobuf message classes by full name, imported when a configuration first mentions them.

All of Envoy's API is some 600 generated modules; a configuration uses a few dozen. Importing them all costs seconds and
tens of MiB, so the module is derived from the message name by the API's own layout rule: the package is the folder,
and the file is mostly named after the last part of the package or after the message. Where that rule fails, the
folder's files are searched as text for the message, so that no wrong module is imported.

Only packages of the published API (`ROOTS`) are ever imported on behalf of a configuration: a type URL is input.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message

from meshproxy.messages import istio, newer_api
from meshproxy.suggest import nearest

ROOTS = frozenset({"envoy", "xds", "udpa", "google"})
TYPED_STRUCTS = frozenset({"xds.type.v3.TypedStruct", "udpa.type.v1.TypedStruct"})
# Messages that are read as one value, so that their presence alone says nothing. They have no rules of their own.
VALUE_MESSAGES = frozenset(
    f"google.protobuf.{name}"
    for name in (
        *("Any", "Duration", "Timestamp", "FieldMask", "Struct", "Value", "ListValue"),
        *("BoolValue", "StringValue", "BytesValue", "FloatValue", "DoubleValue"),
        *("Int32Value", "UInt32Value", "Int64Value", "UInt64Value"),
    )
)
_NAME = re.compile(r"[a-z][a-z0-9_]*(?:\.[a-z][a-z0-9_]*)*(?:\.[A-Z][A-Za-z0-9_]*)+\Z")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_VERSION = re.compile(r"v[0-9]\w*\Z")


def name_of_type_url(type_url: str) -> str:
    """The full message name in a type URL: what follows the last slash; "" when there is none."""
    host, slash, name = type_url.rpartition("/")
    return name if slash and host else ""


@functools.cache
def message_class(full_name: str) -> type[Message] | None:
    """The class of a message, importing its module if need be; None when no such message is known."""
    descriptor = _loaded(full_name)
    for declared in (istio, newer_api):
        if descriptor is None and full_name in declared.NAMES:
            declared.declare()
            descriptor = _loaded(full_name)
    if descriptor is None and _NAME.match(full_name) and full_name.partition(".")[0] in ROOTS:
        home = newer_api.HOMES.get(full_name)
        for module in (home,) if home is not None else _candidate_modules(full_name):
            importlib.import_module(module)
            descriptor = _loaded(full_name)
            if descriptor is not None:
                break
    return None if descriptor is None else message_factory.GetMessageClass(descriptor)


def _loaded(full_name: str) -> Descriptor | None:
    try:
        found: Descriptor = descriptor_pool.Default().FindMessageTypeByName(full_name)
    except KeyError:
        return None
    return found


def _split(full_name: str) -> tuple[str, list[str]]:
    """The package and the names of the message, outermost first."""
    parts = full_name.split(".")
    first = next(index for index, part in enumerate(parts) if part[0].isupper())
    return ".".join(parts[:first]), parts[first:]


def _folder(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        return None
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) if locations else None


def _candidate_modules(full_name: str) -> Iterator[str]:
    """Modules that may define the message, the likeliest first."""
    package, names = _split(full_name)
    folder = _folder(package)
    if folder is None:
        return
    parts = package.split(".")
    stems = [
        parts[-2] if len(parts) > 1 and _VERSION.match(parts[-1]) else parts[-1],
        "_".join(_CAMEL.split(names[0])).lower(),
    ]
    for stem in dict.fromkeys(stems):
        path = folder / f"{stem}_pb2.py"
        if path.is_file() and _defines(path, names[0]):
            yield f"{package}.{stem}_pb2"
    for path in sorted(folder.glob("*_pb2.py")):
        if _defines(path, names[0]):
            yield f"{package}.{path.stem}"


def _defines(path: Path, name: str) -> bool:
    return f"_globals['_{name.upper()}']" in path.read_text("utf-8", "replace")


def nearest_type(full_name: str) -> str | None:
    """The message of the published API that `full_name` was probably meant to be.

    Imports the modules of one package to find its messages, so it is for error messages only.
    """
    if not _NAME.match(full_name) or full_name.partition(".")[0] not in ROOTS:
        return None
    package, names = _split(full_name)
    folder = _folder(package)
    if folder is None:
        likely = nearest(package, packages(package.partition(".")[0]))
        folder = _folder(likely) if likely else None
        if likely is None or folder is None:
            return None
        package = likely
    known = []
    for path in folder.glob("*_pb2.py"):
        module = importlib.import_module(f"{package}.{path.stem}")
        known += [descriptor.full_name for descriptor in module.DESCRIPTOR.message_types_by_name.values()]
    return nearest(".".join([package, *names]), known) or (known[0] if len(known) == 1 else None)


def packages(root: str) -> list[str]:
    """The packages under a root of the API that have generated modules."""
    top = _folder(root)
    if top is None:
        return []
    folders = {path.parent.relative_to(top.parent) for path in top.rglob("*_pb2.py")}
    return [".".join(folder.parts) for folder in folders]
