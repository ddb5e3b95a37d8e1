"""Queries of URLs, with their values as they are written: nothing is decoded."""

from __future__ import annotations

Query = dict[str, list[str]]


def read_query(query: str) -> Query:
    """The values of each parameter, as they are written."""
    found: Query = {}
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if pair:
            found.setdefault(name, []).append(value)
    return found


def write_query(query: Query) -> str:
    """By name, as Envoy sorts them."""
    pairs = [f"{name}={value}" for name in sorted(query) for value in query[name]]
    return f"?{'&'.join(pairs)}" if pairs else ""
