"""A gRPC service with `google.api.http` annotations, as the descriptor set that a compiler would make of its file."""

from __future__ import annotations

import functools
from typing import Any

from google.api import annotations_pb2, http_pb2, httpbody_pb2
from google.protobuf import (
    any_pb2,
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    text_format,
    timestamp_pb2,
    wrappers_pb2,
)

SERVICE = "books.v1.Books"
_KINDS = ("int64", "string", "double", "bytes", "bool", "int32")


def _field(number: int, name: str, kind: str) -> str:
    label = "LABEL_REPEATED" if kind.startswith("repeated ") else "LABEL_OPTIONAL"
    kind = kind.removeprefix("repeated ")
    if kind in _KINDS:
        typed = f"type: TYPE_{kind.upper()}"
    else:
        typed = f'type: {"TYPE_ENUM" if kind.endswith("Kind") else "TYPE_MESSAGE"} type_name: ".{kind}"'
    words = name.split("_")
    json_name = words[0] + "".join(word.title() for word in words[1:])
    return f'field {{ name: "{name}" number: {number} label: {label} {typed} json_name: "{json_name}" }}'


def _message(name: str, /, **fields: str) -> str:
    listed = " ".join(_field(number, key, kind) for number, (key, kind) in enumerate(fields.items(), 1))
    return f'message_type {{ name: "{name}" {listed} }}'


def _method(name: str, takes: str, gives: str, rule: str = "") -> str:
    streams = ("client_streaming: true " if takes.startswith("stream ") else "") + (
        "server_streaming: true " if gives.startswith("stream ") else ""
    )
    takes, gives = takes.removeprefix("stream "), gives.removeprefix("stream ")
    options = f"options {{ [google.api.http] {{ {rule} }} }}" if rule else ""
    return f'method {{ name: "{name}" input_type: ".{takes}" output_type: ".{gives}" {streams}{options} }}'


_SHELF, _ASK = "books.v1.Shelf", "books.v1.Ask"
_FILE = " ".join(
    (
        'name: "books.proto" package: "books.v1" syntax: "proto3"',
        *(
            f'dependency: "google/{each}.proto"'
            for each in ("api/annotations", "api/httpbody", "protobuf/timestamp", "protobuf/wrappers")
        ),
        'enum_type { name: "Kind" value { name: "UNKNOWN" number: 0 } value { name: "SMALL" number: 1 } }',
        _message(
            "Shelf",
            id="int64",
            theme="string",
            kind="books.v1.Kind",
            tags="repeated string",
            weight="double",
            blob="bytes",
            inner=_SHELF,
            made="google.protobuf.Timestamp",
            size="google.protobuf.Int32Value",
            open="bool",
            long_name="int32",
        ),
        _message(
            "Ask",
            shelf="int64",
            name="string",
            filter=_SHELF,
            kind="books.v1.Kind",
            tags="repeated string",
            deep="bool",
        ),
        _message("Create", parent="string", shelf=_SHELF),
        _message("Put", name="string", file="google.api.HttpBody"),
        'service { name: "Books"',
        _method(
            "Get",
            _ASK,
            _SHELF,
            'get: "/v1/shelves/{shelf}" additional_bindings { get: "/v1/{name=shelves/*/books/*}:read" }'
            ' additional_bindings { get: "/v1/shelves/first" }',
        ),
        _method("Make", "books.v1.Create", _SHELF, 'post: "/v1/of/{parent}" body: "shelf"'),
        _method("Update", _SHELF, _SHELF, 'put: "/v1/shelves/{id}" body: "*"'),
        _method("Patch", _SHELF, _SHELF, 'custom { kind: "TUNE" path: "/v1/shelves" } body: "*"'),
        _method("List", _ASK, f"stream {_SHELF}", 'get: "/v1/list/{name=**}"'),
        _method("Upload", f"stream {_SHELF}", _SHELF, 'post: "/v1/upload" body: "*"'),
        _method("Raw", _ASK, "google.api.HttpBody", 'get: "/v1/raw"'),
        _method("Put", "books.v1.Put", _SHELF, 'post: "/v1/raw/{name}" body: "file"'),
        _method("Auto", _ASK, _SHELF),
        "}",
    )
)


@functools.cache
def descriptor_set() -> bytes:
    """The set, with all that it imports."""
    files = descriptor_pb2.FileDescriptorSet()
    for module in (descriptor_pb2, any_pb2, timestamp_pb2, wrappers_pb2, http_pb2, annotations_pb2, httpbody_pb2):
        module.DESCRIPTOR.CopyToProto(files.file.add())
    text_format.Parse(_FILE, files.file.add())
    return files.SerializeToString()


@functools.cache
def _pool() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(descriptor_set()).file:
        pool.Add(file)
    return pool


def book_message(name: str, **fields: Any) -> Any:
    """A message of the service's file."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(name))(**fields)
