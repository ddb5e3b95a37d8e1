"""What the admin interface can be asked for: the table behind `/help` and the home page.

The texts are Envoy's, because people and scripts search them. What was compiled into neither program says so when it
is called.
"""

from __future__ import annotations

from html import escape

from meshproxy.records import dataclass


@dataclass(frozen=True, slots=True)
class Parameter:
    """One query parameter; `choices` if only these make sense."""

    name: str
    help: str
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """One path. mutates: it changes something, so it takes POST only."""

    path: str
    help: str
    mutates: bool = False
    parameters: tuple[Parameter, ...] = ()


_LEVELS = ("", "trace", "debug", "info", "warning", "error", "critical", "off")
_FILTER = Parameter("filter", "Regular expression (Google re2) for filtering stats")
_INVERT = Parameter("invert_filter", "Invert the filter regex")
_USED = Parameter("usedonly", "Only include stats that have been written by system since restart")
_MASK = (
    "The mask to apply. When both resource and mask are specified, the mask is applied to every element in the desired "
    "repeated field so that only a subset of fields are returned. The mask is parsed as a Protobuf::FieldMask"
)
_NAME_REGEX = (
    "Dump only the currently loaded configurations whose names match the specified regex. Can be used with both "
    "resource and mask query parameters."
)
_INIT_MASK = (
    "The desired component to dump unready targets. The mask is parsed as a Protobuf::FieldMask. For example, get the "
    "unready targets of all listeners with /init_dump?mask=listener`"
)
_GRACEFUL = (
    "When draining listeners, enter a graceful drain period prior to closing listeners. This behaviour and duration is "
    "configurable via server options or CLI"
)
_SKIP_EXIT = (
    "When draining listeners, drain the connections but never stop the listeners. The graceful parameter has no effect "
    "when this is set, since the drain period only delays stopping the listeners"
)
_INBOUND = (
    "Drains all inbound listeners. traffic_direction field in envoy_v3_api_msg_config.listener.v3.Listener is used to "
    "determine whether a listener is inbound or outbound."
)
_PATHS = (
    "Change multiple logging levels by setting to <logger_name1>:<desired_level1>,<logger_name2>:<desired_level2>. If "
    "fine grain logging is enabled, use __FILE__ or a glob experision as the logger name. For example, "
    "source/common*:warning"
)
_GROUP = (
    "Change given logger group to desired level, set to <logger_group_name>:<desired_level>. logger_group_name must be "
    "a logger name."
)
_MODIFY = (
    "Adds or modifies runtime values as passed in query parameters. To delete a previously added key, use an empty "
    "string as the value. Note that deletion only applies to overrides added via this endpoint; values loaded from "
    "disk can be modified via override but not deleted. E.g. ?key1=value1&key2=value2..."
)


def _on_off(text: str) -> tuple[Parameter, ...]:
    return (Parameter("enable", text, ("y", "n")),)


COMMANDS = (
    Command("/", "Admin home page"),
    Command(
        "/allocprofiler",
        "enable/disable the allocation profiler (if supported)",
        True,
        _on_off("enable/disable the allocation profiler"),
    ),
    Command("/certs", "print certs on machine"),
    Command(
        "/clusters",
        "upstream cluster status",
        parameters=(Parameter("filter", "Regular expression (Google re2) for filtering clusters by name"),),
    ),
    Command(
        "/config_dump",
        "dump current Envoy configs",
        parameters=(
            Parameter("resource", "The resource to dump"),
            Parameter("mask", _MASK),
            Parameter("name_regex", _NAME_REGEX),
            Parameter(
                "include_eds",
                "Dump currently loaded configuration including EDS. See the response definition for more information",
            ),
        ),
    ),
    Command("/contention", "dump current Envoy mutex contention stats (if enabled)"),
    Command("/cpuprofiler", "enable/disable the CPU profiler", True, _on_off("enables the CPU profiler")),
    Command(
        "/drain_listeners",
        "drain listeners",
        True,
        (
            Parameter("graceful", _GRACEFUL),
            Parameter("skip_exit", _SKIP_EXIT),
            Parameter("inboundonly", _INBOUND),
        ),
    ),
    Command("/healthcheck/fail", "cause the server to fail health checks", True),
    Command("/healthcheck/ok", "cause the server to pass health checks", True),
    Command("/heap_dump", "dump current Envoy heap (if supported)"),
    Command("/heapprofiler", "enable/disable the heap profiler", True, _on_off("enable/disable the heap profiler")),
    Command("/help", "print out list of admin commands"),
    Command("/hot_restart_version", "print the hot restart compatibility version"),
    Command(
        "/init_dump",
        "dump current Envoy init manager information (experimental)",
        parameters=(Parameter("mask", _INIT_MASK),),
    ),
    Command(
        "/listeners", "print listener info", parameters=(Parameter("format", "File format to use", ("text", "json")),)
    ),
    Command(
        "/logging",
        "query/change logging levels",
        True,
        (
            Parameter("paths", _PATHS),
            Parameter("group", _GROUP),
            Parameter("level", "desired logging level, this will change all loggers's level", _LEVELS),
        ),
    ),
    Command("/memory", "print current allocation/heap usage"),
    Command("/memory/tcmalloc", "print TCMalloc stats"),
    Command("/peak_heap_dump", "dump peak Envoy heap (if supported)"),
    Command("/quitquitquit", "exit the server", True),
    Command("/ready", "print server state, return 200 if LIVE, otherwise return 503"),
    Command("/reopen_logs", "reopen access logs", True),
    Command("/reset_counters", "reset all counters to zero", True),
    Command("/runtime", "print runtime values"),
    Command("/runtime_modify", _MODIFY, True),
    Command("/server_info", "print server version/status information"),
    Command(
        "/stats",
        "print server stats",
        parameters=(
            _USED,
            _FILTER,
            _INVERT,
            Parameter("format", "Format to use", ("html", "active-html", "text", "json")),
            Parameter("type", "Stat types to include.", ("All", "Counters", "Histograms", "Gauges", "TextReadouts")),
            Parameter(
                "histogram_buckets",
                "Histogram bucket display mode",
                ("cumulative", "disjoint", "detailed", "summary"),
            ),
        ),
    ),
    Command(
        "/stats/prometheus",
        "print server stats in prometheus format",
        parameters=(
            _USED,
            Parameter(
                "text_readouts", "Render text_readouts as new gaugues with value 0 (increases Prometheus data size)"
            ),
            _FILTER,
            _INVERT,
            Parameter("histogram_buckets", "Histogram bucket display mode", ("cumulative", "summary")),
        ),
    ),
    Command("/stats/recentlookups", "Show recent stat-name lookups"),
    Command("/stats/recentlookups/clear", "clear list of stat-name lookups and counter", True),
    Command("/stats/recentlookups/disable", "disable recording of reset stat-name lookup names", True),
    Command("/stats/recentlookups/enable", "enable recording of reset stat-name lookup names", True),
)


def render_help() -> str:
    """The text of `/help`."""
    lines = ["admin commands are:"]
    for command in COMMANDS:
        lines.append(f"  {command.path}{' (POST)' if command.mutates else ''}: {command.help}")
        for parameter in command.parameters:
            choices = f"; One of ({', '.join(parameter.choices)})" if parameter.choices else ""
            lines.append(f"      {parameter.name}: {parameter.help}{choices}")
    return "\n".join(lines) + "\n"


_STYLE = (
    "body{font-family:sans-serif;margin:1.5em;max-width:70em}td{padding:.3em .6em;vertical-align:top}"
    "tr.command{background:#eee}td.parameter{text-align:right}button{font:inherit}"
)


def render_home() -> str:
    """The home page: every command as a form; what changes something is a button that posts."""
    rows = []
    for index, command in enumerate(COMMANDS):
        if command.path == "/":
            continue
        path = escape(command.path[1:], quote=True)
        form = f"command-{index}"
        method = "post" if command.mutates else "get"
        rows.append(
            f"<tr class='command'><td><form id='{form}' action='{path}' method='{method}'>"
            f"<button>{path}</button></form></td><td>{escape(command.help)}</td></tr>"
        )
        for parameter in command.parameters:
            name = escape(parameter.name, quote=True)
            if parameter.choices:
                options = "".join([f"<option>{escape(choice)}</option>" for choice in parameter.choices])
                control = f"<select name='{name}' form='{form}' disabled>{options}</select>"
            else:
                control = f"<input type='text' name='{name}' form='{form}' disabled>"
            rows.append(
                f"<tr><td class='parameter'><label><input type='checkbox' onchange='use(this)'> {name}</label> "
                f"{control}</td><td>{escape(parameter.help)}</td></tr>"
            )
    script = "function use(box){box.closest('td').querySelector('[form]').disabled=!box.checked}"
    return (
        "<!DOCTYPE html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n<title>meshproxy admin</title>\n"
        f"<style>{_STYLE}</style>\n<script>{script}</script>\n</head>\n<body>\n<h1>meshproxy admin</h1>\n<table>\n"
        + "\n".join(rows)
        + "\n</table>\n</body>\n</html>\n"
    )
