"""`/stats` in all its forms, and `/stats/prometheus`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html import escape

from meshproxy.in_parts import encoded_in_parts
from meshproxy.runtime.admin.message import HTML, JSON, TEXT, AdminRequest, AdminResponse
from meshproxy.runtime.admin.program import Fleet
from meshproxy.runtime.process.aside import aside
from meshproxy.telemetry.prometheus import prometheus_lines
from meshproxy.telemetry.stats import StatsSnapshot
from meshproxy.telemetry.stats_query import FORMATS, StatsQuery, parse_stats_query
from meshproxy.telemetry.stats_text import render_json, render_text, text_lines
from meshproxy.telemetry.tags import TagProducer

_AT_ONCE = 20_000
"""So many statistics are written down without letting anything else happen (some 50 ms)."""
_HIDDEN = ("include", "only", "exclude")
_HTML_FORMATS = ("html", "active-html")


class StatsPage:
    """make_tags: makes the tag producer, when Prometheus' format is first asked for (it compiles some forty
    expressions)."""

    def __init__(self, fleet: Fleet, make_tags: Callable[[], TagProducer]) -> None:
        self._fleet = fleet
        self._make_tags = make_tags
        self._tags: TagProducer | None = None

    async def page(self, request: AdminRequest) -> AdminResponse:
        """`/stats`."""
        return await self._render(request, "text")

    async def prometheus(self, request: AdminRequest) -> AdminResponse:
        """`/stats/prometheus`."""
        return await self._render(request, "prometheus")

    async def _render(self, request: AdminRequest, path_format: str) -> AdminResponse:
        parameters = dict(request.parameters)
        if parameters.get("format", "text") not in (*FORMATS, *_HTML_FORMATS):
            return AdminResponse("usage: /stats?format=(html|active-html|json|prometheus|text)\n\n", 400)
        if parameters.get("hidden", "exclude") not in _HIDDEN:
            return AdminResponse("usage: /stats?hidden=(include|only|exclude)\n\n", 400)
        html = parameters.get("format") if parameters.get("format") in _HTML_FORMATS else None
        if html:
            parameters["format"] = "text"
        try:
            query = parse_stats_query(parameters, path_format)
        except ValueError as error:
            return AdminResponse(str(error), 400)
        if "invert_filter" in parameters and query.wanted is not None:
            query = replace(query, wanted=_inverted(query.wanted))
        if parameters.get("hidden") == "only":  # none is
            query = replace(query, wanted=lambda name: False)
        snapshot = await self._fleet.statistics()
        keeps = query.format == "prometheus" and self._tags is None
        if keeps:
            self._tags = self._make_tags()
        write = partial(self._write, snapshot, query, html)
        # Thousands of clusters have a hundred thousand statistics: requests go on while they are written down.
        many = self._fleet.carries_traffic and snapshot.size > _AT_ONCE
        response = await aside(write) if many else write()
        return replace(response, keeps=keeps and many)  # how each name is taken apart

    def _write(self, snapshot: StatsSnapshot, query: StatsQuery, html: str | None) -> AdminResponse:
        if query.format == "prometheus":
            assert self._tags is not None
            lines = prometheus_lines(snapshot, self._tags, query)
            return AdminResponse(encoded_in_parts(lines, "surrogatepass"))
        if query.format == "json":
            return AdminResponse(_bytes(render_json(snapshot, query)), content_type=JSON)
        if html:
            return AdminResponse(_page(render_text(snapshot, query), active=html == "active-html"), content_type=HTML)
        return AdminResponse(encoded_in_parts(text_lines(snapshot, query), "surrogatepass"), content_type=TEXT)


def _inverted(wanted: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda name: not wanted(name)


def _bytes(text: str) -> bytes:
    """The renderers give one character per byte."""
    return text.encode("latin-1", "replace")


def _page(text: str, *, active: bool) -> bytes:
    refresh = "<meta http-equiv='refresh' content='5'>" if active else ""
    head = f"<!DOCTYPE html>\n<html lang='en'>\n<head><meta charset='utf-8'>{refresh}<title>stats</title></head>\n"
    return _bytes(f"{head}<body><pre>{escape(text)}</pre></body>\n</html>\n")
