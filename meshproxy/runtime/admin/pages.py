"""The handlers of the admin interface, by path. What a page says is made by its own module; here it is put together."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from meshproxy.runtime.admin import (
    clusters,
    config_dump,
    listeners,
    logging_page,
    runtime_values,
    server_info,
    xds_page,
)
from meshproxy.runtime.admin.commands import COMMANDS, render_help, render_home
from meshproxy.runtime.admin.discovered import Discovered
from meshproxy.runtime.admin.message import HTML, JSON, OK, TEXT, AdminRequest, AdminResponse, Handler, json_parts
from meshproxy.runtime.admin.program import Program
from meshproxy.runtime.admin.stats_page import StatsPage
from meshproxy.runtime.discovery.cluster_discovery import STATIC
from meshproxy.runtime.process.aside import aside
from meshproxy.runtime.process.memory import process_memory
from meshproxy.runtime.tls.listing import list_certificates
from meshproxy.runtime.version import hot_restart_version
from meshproxy.telemetry.tags import TagProducer

_RECENT_OFF = "Lookup tracking is not enabled. Use /stats/recentlookups/enable to enable.\n\ntotal: 0\n"

_AT_ONCE = 16384
"""Bytes of configuration that are shown without letting anything else happen (some 10 ms)."""
_CLUSTERS_AT_ONCE = 50
# Envoy sends this field twice with what it has to say against a query of /config_dump.
_SNIFF_TWICE = (("x-content-type-options", "nosniff"),)


class Site:
    """Every page of the interface."""

    def __init__(self, program: Program, make_tags: Callable[[], TagProducer]) -> None:
        """make_tags: see `StatsPage`."""
        self.handlers = make_handlers(program, StatsPage(program.fleet, make_tags))
        self.mutating = frozenset(command.path for command in COMMANDS if command.mutates)

    def not_found(self) -> str:
        return f"invalid path. {render_help()}"


def make_handlers(program: Program, stats: StatsPage) -> Mapping[str, Handler]:
    """All handlers."""
    pages = Pages(program)
    return {
        "/": lambda request: AdminResponse(render_home(), content_type=HTML),
        "/help": lambda request: AdminResponse(render_help()),
        "/ready": pages.ready,
        "/server_info": lambda request: AdminResponse(server_info.render(program), content_type=JSON),
        "/listeners": pages.listeners,
        "/clusters": pages.clusters,
        "/config_dump": pages.config_dump,
        "/stats": stats.page,
        "/stats/prometheus": stats.prometheus,
        "/stats/recentlookups": lambda request: AdminResponse(_RECENT_OFF),
        "/stats/recentlookups/clear": lambda request: OK,
        "/stats/recentlookups/disable": lambda request: OK,
        "/stats/recentlookups/enable": lambda request: _unsupported("recording of stat-name lookups"),
        "/logging": pages.logging,
        "/reopen_logs": pages.reopen_logs,
        "/reset_counters": pages.reset_counters,
        "/healthcheck/fail": pages.health_fail,
        "/healthcheck/ok": pages.health_ok,
        "/drain_listeners": pages.drain_listeners,
        "/quitquitquit": pages.quit,
        "/memory": pages.memory,
        "/memory/tcmalloc": lambda request: _unsupported("tcmalloc"),
        "/certs": pages.certificates,
        "/runtime": pages.runtime,
        "/runtime_modify": pages.runtime_modify,
        "/init_dump": pages.init_dump,
        "/meshproxy/xds": pages.xds,
        "/hot_restart_version": lambda request: AdminResponse(
            hot_restart_version(pages._program.options.disable_hot_restart)
        ),
        "/contention": lambda request: AdminResponse(
            "Mutex contention tracing is not enabled. To enable, run Envoy with flag --enable-mutex-tracing."
        ),
        "/cpuprofiler": pages.cpu_profiler,
        "/allocprofiler": lambda request: _unsupported("allocation profiler"),
        "/heapprofiler": lambda request: _unsupported("heap profiler"),
        "/heap_dump": lambda request: _unsupported("heap dump"),
        "/peak_heap_dump": lambda request: _unsupported("peak heap dump"),
    }


def _unsupported(what: str) -> AdminResponse:
    """Envoy's answer when it was built without something."""
    return AdminResponse(f"The current build does not support {what}", 501)


def name_filter(pattern: str) -> Callable[[str], bool]:
    """Whether a name contains a match of an RE2 expression; "" lets all pass. Raises ValueError."""
    if not pattern:
        return lambda name: True
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        search = re2.compile(pattern, options).search
    except re2.error as error:
        reason = error.args[0] if error.args else error
        raise ValueError(reason.decode() if isinstance(reason, bytes) else str(reason)) from None
    return lambda name: search(name) is not None


class Pages:
    """The pages that ask the program or change it."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def certificates(self, request: AdminRequest) -> AdminResponse:
        listed = {"certificates": list_certificates(self._program.current())}
        return AdminResponse(json.dumps(listed, indent=1) + "\n", content_type=JSON)

    def ready(self, request: AdminRequest) -> AdminResponse:
        state = self._program.visible_state()
        if state == "LIVE":
            return AdminResponse("LIVE\n")
        return AdminResponse("".join([f"{line}\n" for line in (state, *self._missing())]), 503)

    def _missing(self) -> list[str]:
        """What the start still waits for."""
        discovery = self._program.discovery
        return discovery.missing() if discovery is not None and not discovery.listeners.started else []

    def init_dump(self, request: AdminRequest) -> AdminResponse:
        discovery = self._program.discovery
        missing = discovery.missing() if discovery is not None else []
        shown = {"unready_targets_dumps": [{"name": "init manager Server", "target_names": missing}]}
        return AdminResponse(json.dumps(shown if missing else {}, indent=1) + "\n", content_type=JSON)

    def xds(self, request: AdminRequest) -> AdminResponse:
        discovery = self._program.discovery
        if discovery is None:
            return AdminResponse("{}\n", content_type=JSON)
        return AdminResponse(xds_page.render(discovery, self._program.wall()), content_type=JSON)

    def listeners(self, request: AdminRequest) -> AdminResponse:
        shown = self._program.listening
        if request.parameters.get("format") == "json":
            return AdminResponse(listeners.render_json(shown), content_type=JSON)
        return AdminResponse(listeners.render_text(shown))

    async def clusters(self, request: AdminRequest) -> AdminResponse:
        try:
            wanted = name_filter(request.parameters.get("filter", ""))
        except ValueError:
            return AdminResponse("Invalid re2 regex", 400)
        statuses = clusters.merge_statuses(await self._program.fleet.cluster_statuses())
        discovery = self._program.discovery
        for status in statuses if discovery is not None else ():
            entry = discovery.clusters.active.get(status["name"])
            status["by_discovery"] = entry is not None and entry.origin != STATIC
        as_json = request.parameters.get("format") == "json"
        render = clusters.render_json if as_json else clusters.render_text
        write = partial(render, statuses, wanted)
        many = self._program.fleet.carries_traffic and len(statuses) > _CLUSTERS_AT_ONCE
        return AdminResponse(await aside(write) if many else write(), content_type=JSON if as_json else TEXT)

    async def config_dump(self, request: AdminRequest) -> AdminResponse:
        parameters = request.parameters
        try:
            wanted = name_filter(parameters.get("name_regex", ""))
        except ValueError as error:
            pattern = parameters["name_regex"]
            text = f"INVALID_ARGUMENT: Error while parsing name_regex from {pattern}: {error}"
            return AdminResponse(text, 400, "text/plain")
        statuses = None
        if "include_eds" in parameters:
            statuses = clusters.merge_statuses(await self._program.fleet.cluster_statuses())
        program = self._program
        discovered = Discovered(program.discovery) if program.discovery is not None else None
        dump = config_dump.ConfigDump(program.message, program.started, statuses, discovered)

        def write() -> list[bytes]:
            shown = dump.select(parameters.get("resource", ""), parameters.get("mask", ""), wanted)
            return json_parts(shown, ascii_only=False)

        size = program.message.ByteSize() + (discovered.size if discovered is not None else 0)
        try:
            body = await aside(write) if program.fleet.carries_traffic and size > _AT_ONCE else write()
        except config_dump.BadRequest as error:
            return AdminResponse(str(error), error.status, "text/plain", _SNIFF_TWICE)
        return AdminResponse(body, content_type=JSON)

    async def logging(self, request: AdminRequest) -> AdminResponse:
        levels = self._program.loggers.levels
        error = logging_page.change_levels(levels, request.parameters)
        if error:
            return AdminResponse(logging_page.render(levels, error), 400)
        await self._program.fleet.ask("logging", dict(levels.by_component))
        return AdminResponse(logging_page.render(levels))

    async def reopen_logs(self, request: AdminRequest) -> AdminResponse:
        await self._program.fleet.ask("reopen_logs")
        return OK

    async def reset_counters(self, request: AdminRequest) -> AdminResponse:
        await self._program.fleet.ask("reset_counters")
        return OK

    async def health_fail(self, request: AdminRequest) -> AdminResponse:
        self._program.health_failed = True
        await self._program.fleet.ask("health_failed", True)
        return OK

    async def health_ok(self, request: AdminRequest) -> AdminResponse:
        self._program.health_failed = False
        await self._program.fleet.ask("health_failed", False)
        return OK

    async def drain_listeners(self, request: AdminRequest) -> AdminResponse:
        parameters = request.parameters
        await self._program.fleet.drain_listeners(
            graceful="graceful" in parameters,
            skip_exit="skip_exit" in parameters,
            inbound_only="inboundonly" in parameters,
        )
        return OK

    def quit(self, request: AdminRequest) -> AdminResponse:
        return AdminResponse("OK\n", then=self._program.fleet.quit)

    async def memory(self, request: AdminRequest) -> AdminResponse:
        pids = sorted({os.getpid(), *(await self._program.fleet.ask("pid"))})
        allocated, resident = process_memory(pids)
        shown: dict[str, Any] = {
            "allocated": str(allocated),
            "heap_size": str(resident),
            "pageheap_unmapped": "0",
            "pageheap_free": "0",
            "total_thread_cache": "0",
            "total_physical_bytes": str(resident),
        }
        return AdminResponse(json.dumps(shown, indent=1) + "\n", content_type=JSON)

    def runtime(self, request: AdminRequest) -> AdminResponse:
        return AdminResponse(runtime_values.render(self._program.discovery.runtime), content_type=JSON)

    def runtime_modify(self, request: AdminRequest) -> AdminResponse:
        return runtime_values.modify(self._program.discovery.runtime, request)

    def cpu_profiler(self, request: AdminRequest) -> AdminResponse:
        if request.parameters.get("enable") not in ("y", "n"):
            return AdminResponse("?enable=<y|n>\n", 400)
        return _unsupported("CPU profiler")
