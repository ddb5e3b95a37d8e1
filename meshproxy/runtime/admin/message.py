"""A request to the admin interface and its answer."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field
from typing import Protocol
from urllib.parse import unquote

from meshproxy.in_parts import clear_in_parts, encoded_in_parts
from meshproxy.records import dataclass

TEXT = "text/plain; charset=UTF-8"
JSON = "application/json"
HTML = "text/html; charset=UTF-8"


@dataclass(frozen=True, slots=True)
class AdminRequest:
    """path: without its query. parameters: of the query; of a name that stands twice the first counts. form: the body
    is said to be one of parameters."""

    method: str
    path: str
    parameters: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    form: bool = False


@dataclass(frozen=True, slots=True)
class AdminResponse:
    """body: in pieces when it is long. status: HTTP status. headers: before all others. then: called once the answer
    has been written. keeps: what was made for it stays for the next one, and is a lot."""

    body: str | bytes | Sequence[bytes]
    status: int = 200
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()
    then: Callable[[], object] | None = None
    keeps: bool = False


Answer = AdminResponse | Awaitable[AdminResponse]
Handler = Callable[[AdminRequest], Answer]


class AdminSite(Protocol):
    """All pages: handlers by path, the paths that change something, and what is said for any other path."""

    @property
    def handlers(self) -> Mapping[str, Handler]: ...
    @property
    def mutating(self) -> frozenset[str]: ...
    def not_found(self) -> str: ...


def parse_parameters(query: str) -> dict[str, str]:
    """`a=b&c` to a dictionary; percent-encoding is undone, "+" is left alone (as Envoy does)."""
    parameters: dict[str, str] = {}
    for pair in query.split("&"):
        if pair:
            name, _, value = pair.partition("=")
            parameters.setdefault(unquote(name), unquote(value))
    return parameters


def json_parts(value: object, *, ascii_only: bool = True) -> list[bytes]:
    """Indented JSON, written in parts (`meshproxy.in_parts`). The value is taken apart."""
    parts = encoded_in_parts(json.JSONEncoder(indent=1, ensure_ascii=ascii_only).iterencode(value))
    clear_in_parts(value)
    return [*parts, b"\n"]


OK = AdminResponse("OK\n")
