"""Requests made from a route table: for each route one that it takes, and others that it nearly takes."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from .samples import STRANGE, of_domain, of_header_match, of_regex, of_string_match

_TEMPLATE = re.compile(r"\{[^}]*\}|\*\*?")


@dataclass(frozen=True, slots=True)
class Request:
    """why: which route it is for, and what is nearly right."""

    why: str
    path: str = "/"
    host: str = "any.test"
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    query: tuple[tuple[str, str], ...] = ()
    body: str = ""

    @property
    def target(self) -> str:
        query = "&".join(f"{name}={quote(value)}" for name, value in self.query)
        return f"{self.path}?{query}" if query else self.path

    def without(self, name: str) -> Request:
        return replace(self, headers=tuple(pair for pair in self.headers if pair[0] != name))


def of_route_table(table: Mapping[str, Any]) -> Iterator[Request]:
    """All of them, the same ones once."""
    seen = set()
    for request in _of_table(table):
        same = replace(request, why="")
        if same not in seen:
            seen.add(same)
            yield request


def _of_table(table: Mapping[str, Any]) -> Iterator[Request]:
    for host in table.get("virtual_hosts") or ():
        hosts = [of_domain(domain) for domain in host.get("domains") or ()]
        for number, route in enumerate(host.get("routes") or ()):
            why = f"{host.get('name')}/{route.get('name') or number}"
            try:
                fitting = _fitting(why, hosts[0], route.get("match") or {})
            except re.error:
                continue
            yield fitting
            yield from _nearly(fitting, route["match"])
        for each in hosts:
            yield Request(f"{host.get('name')}: host", host=each)
            yield Request(f"{host.get('name')}: host with a port", host=f"{each.split(':')[0]}:8080")
    yield Request("no such host", host="nowhere.invalid")
    yield Request("a preflight", method="OPTIONS", headers=(
        ("origin", "http://any.test"), ("access-control-request-method", "PUT"),
    ))  # fmt: skip
    yield Request("dots and slashes", path="/a/..//b/%2e%2e/c%2Fd")


def _fitting(why: str, host: str, match: Mapping[str, Any]) -> Request:
    request = Request(why, _path(match), host)
    if "connect_matcher" in match:
        request = replace(request, method="CONNECT", path=host if ":" in host else f"{host}:80")
    for header in match.get("headers") or ():
        name, value = header["name"].lower(), of_header_match(header)
        if value is None:
            request = request.without(name)
        elif name == ":method":
            request = replace(request, method=value)
        elif name == ":authority":
            request = replace(request, host=value)
        elif name == ":path":
            request = replace(request, path=value)
        elif not name.startswith(":"):
            request = replace(request, headers=(*request.without(name).headers, (name, value)))
    for parameter in match.get("query_parameters") or ():
        if parameter.get("present_match", True):
            pair = (parameter["name"], of_string_match(parameter.get("string_match") or {}))
            request = replace(request, query=(*request.query, pair))
    if "grpc" in match:
        request = replace(request, method="POST", headers=(*request.headers, ("content-type", "application/grpc")))
    return request


def _path(match: Mapping[str, Any]) -> str:
    if "path" in match:
        return str(match["path"])
    if "path_separated_prefix" in match:
        return str(match["path_separated_prefix"])
    if "safe_regex" in match:
        return of_regex(match["safe_regex"]["regex"])
    if "path_match_policy" in match:
        return _TEMPLATE.sub("some", match["path_match_policy"]["typed_config"]["path_template"])
    return str(match.get("prefix") or "/")


def _nearly(fitting: Request, match: Mapping[str, Any]) -> Iterator[Request]:
    if fitting.method == "CONNECT":
        return
    yield replace(fitting, why=f"{fitting.why}: more of the path", path=f"{fitting.path}more")
    yield replace(fitting, why=f"{fitting.why}: a segment more", path=f"{fitting.path.rstrip('/')}/more")
    yield replace(fitting, why=f"{fitting.why}: upper case", path=fitting.path.upper())
    yield replace(fitting, why=f"{fitting.why}: a query", query=(*fitting.query, ("q", "1")))
    if len(fitting.path) > 1:
        yield replace(fitting, why=f"{fitting.why}: less of the path", path=fitting.path[:-1])
    if fitting.method == "GET":
        yield replace(fitting, why=f"{fitting.why}: with a body", method="POST", body="some body")
        yield replace(fitting, why=f"{fitting.why}: HEAD", method="HEAD")
    else:
        yield replace(fitting, why=f"{fitting.why}: another method", method="GET", body="")
    for name, value in fitting.headers:
        without = fitting.without(name)
        yield replace(without, why=f"{fitting.why}: without {name}")
        other = (*without.headers, (name, f"{value}{STRANGE}"))
        yield replace(fitting, why=f"{fitting.why}: another {name}", headers=other)
    for header in match.get("headers") or ():
        name = header["name"].lower()
        if not name.startswith(":") and of_header_match(header) is None:
            added = (*fitting.headers, (name, "some"))
            yield replace(fitting, why=f"{fitting.why}: with {name}", headers=added)
    if fitting.query:
        yield replace(fitting, why=f"{fitting.why}: without its query", query=())
        other = tuple((name, f"{value}{STRANGE}") for name, value in fitting.query)
        yield replace(fitting, why=f"{fitting.why}: another query", query=other)
