"""`meshproxy agent`, `wait` and `request`: what a pod runs, with the words that pilot-agent has for it.

    meshproxy agent proxy sidecar --domain default.svc.cluster.local --proxyLogLevel=warning
    meshproxy wait --timeoutSeconds 60
    meshproxy request GET config_dump

Settings come from the environment (`PROXY_CONFIG`, `ISTIO_META_*`, `POD_NAME`, ...); `meshproxy agent --help` and
docs/agent.md name them. Flags of pilot-agent that mean nothing here are passed over with a warning.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from meshproxy.errors import ConfigError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_BIND = range(4)

_VARIABLES = """\
what stands behind -- are flags for the proxy itself, such as --file-flush-interval-msec 50

variables: POD_NAME POD_NAMESPACE INSTANCE_IP SERVICE_ACCOUNT TRUST_DOMAIN PROXY_CONFIG ISTIO_META_* ISTIO_METAJSON_*
           ISTIO_KUBE_APP_PROBERS ISTIO_PROMETHEUS_ANNOTATIONS TERMINATION_DRAIN_DURATION_SECONDS
           EXIT_ON_ZERO_ACTIVE_CONNECTIONS MINIMUM_DRAIN_DURATION MESHPROXY_DRAIN_DEADLINE DNS_PROXY_ADDR
           DNS_NAME_TABLE ENVOY_STATUS_PORT ENVOY_PROMETHEUS_PORT
exit code: the proxy's; 1 for a setting that can't be used, 3 for a port that can't be had
"""

_REACHABLE = {15000, 15004, 15020, 15021}
"""Ports that `request` may ask, pilot-agent's list: it is run with `kubectl exec` by whoever may do that."""


def _say(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201  # the program's answer


def run_agent_command(arguments: Sequence[str]) -> int:
    """`meshproxy agent`. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="meshproxy agent",
        description="Start the proxy in a pod, say whether it is ready, and end it without losing a request.",
        epilog=_VARIABLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("words", nargs="*", metavar="[proxy] sidecar|router|waypoint", help="what it is for: sidecar")
    parser.add_argument("--domain", default="", help="the DNS domain of the pod's namespace")
    parser.add_argument("--serviceCluster", default="", metavar="NAME", help="node.cluster, over PROXY_CONFIG's")
    parser.add_argument("--proxyLogLevel", default="warning", help="--log-level of the proxy")
    parser.add_argument("--proxyComponentLogLevel", default="", help="--component-log-level of the proxy")
    parser.add_argument("--outlierLogPath", default="", metavar="FILE", help="where ejections of hosts are logged")
    parser.add_argument("--meshConfig", default="", metavar="FILE", help="the mesh's configuration")
    parser.add_argument(
        "--log_output_level", default="", metavar="LEVELS", help="the agent's own: info or default:info"
    )
    parser.add_argument("--concurrency", type=int, help="workers of the proxy, over PROXY_CONFIG's")
    arguments, passed_on = _parted(arguments)
    given, unknown = parser.parse_known_args(arguments)
    words = [word for word in given.words if word != "proxy"]
    role = words[0] if words else "sidecar"
    if role not in ("sidecar", "router", "waypoint") or len(words) > 1:
        parser.error(f"'{' '.join(words)}': what the proxy is for is 'sidecar', 'router' or 'waypoint'")

    from meshproxy.agent.local_addresses import local_addresses
    from meshproxy.agent.pod_files import read_pod_files
    from meshproxy.agent.run import run_agent
    from meshproxy.agent.settings import read_settings
    from meshproxy.runtime.process.configuration import make_logger
    from meshproxy.runtime.process.program_log import PROGRAM_LOG

    level = own_level(given.log_output_level)
    if level is None:
        parser.error(f"--log_output_level={given.log_output_level}: levels are {', '.join(_LEVELS)}")
    PROGRAM_LOG.configure(level=level, component_levels="", line_format="", path="")
    log = make_logger("main")
    for flag in unknown:
        log.warning("flag passed over", flag=flag)
    flags = ["--log-level", given.proxyLogLevel]
    levels = _known_levels(given.proxyComponentLogLevel)
    if levels:
        flags += ["--component-log-level", levels]
    if given.concurrency is not None:
        flags += ["--concurrency", str(given.concurrency)]
    flags += passed_on
    try:
        settings = read_settings(
            os.environ,
            role=role,
            domain=given.domain,
            service_cluster=given.serviceCluster,
            pod=read_pod_files(mesh=given.meshConfig),
            outlier_log=given.outlierLogPath,
            addresses=local_addresses(),
        )
        return run_agent(settings, log, flags)
    except ConfigError as error:
        for problem in error.problems:
            _say(f"meshproxy agent: {problem}")
        return EXIT_FAILED
    except OSError as error:
        _say(f"meshproxy agent: {error}")
        return EXIT_BIND


def _parted(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """What stands before `--`, and what behind it."""
    words = list(arguments)
    at = words.index("--") if "--" in words else len(words)
    return words[:at], words[at + 1 :]


_LEVELS = {"none": "off", "fatal": "critical", "error": "error", "warn": "warning", "info": "info", "debug": "debug"}
"""Istio's, and what they are called here."""


def own_level(text: str) -> str | None:
    """The agent's level out of `info`, `default:info,xdsproxy:debug` and their like; None for what is no level."""
    found: str | None = "info"
    for part in filter(None, text.split(",")):
        scope, _, level = part.rpartition(":")
        if scope in ("", "default", "all"):
            found = _LEVELS.get(level)
    return found


def _known_levels(text: str) -> str:
    """Without components that this proxy doesn't have (the injector names `misc`)."""
    from meshproxy.runtime.process.program_log import PROGRAM_LOG

    parts = [part for part in text.split(",") if part]
    return ",".join(part for part in parts if part.partition(":")[0] in PROGRAM_LOG.levels.by_component)


def run_wait_command(arguments: Sequence[str]) -> int:
    """`meshproxy wait`: until the proxy is ready. Returns 0, or 1 when it isn't in time."""
    parser = argparse.ArgumentParser(prog="meshproxy wait", description="Wait until the proxy of this pod is ready.")
    parser.add_argument("--url", default="http://localhost:15021/healthz/ready", help="what is asked")
    parser.add_argument("--timeoutSeconds", type=float, default=60.0, metavar="S", help="how long (default: 60)")
    parser.add_argument("--periodMillis", type=float, default=500.0, metavar="MS", help="how often (default: 500)")
    parser.add_argument("--requestTimeoutMillis", type=float, default=500.0, metavar="MS", help="for one question")
    parser.add_argument("--once", action="store_true", help="ask once and say what was answered")
    options = parser.parse_args(list(arguments))
    target = urlsplit(options.url)
    if target.scheme != "http" or not target.hostname:
        parser.error(f"--url: '{options.url}' is not an http:// URL")

    from meshproxy.agent.http import HttpError, fetch

    end = time.monotonic() + options.timeoutSeconds
    while True:
        try:
            asking = fetch(
                target.hostname, target.port or 80, target.path or "/", timeout=options.requestTimeoutMillis / 1000
            )
            reply = asyncio.run(asking)
            if reply.status == 200:
                return EXIT_OK
            reason = reply.body.decode(errors="replace").strip() or f"status {reply.status}"
        except HttpError as error:
            reason = str(error)
        if options.once or time.monotonic() >= end:
            _say(f"meshproxy wait: {reason}")
            return EXIT_FAILED
        time.sleep(options.periodMillis / 1000)


def run_request_command(arguments: Sequence[str]) -> int:
    """`meshproxy request METHOD PATH`: ask the admin interface. Prints the body and nothing else."""
    parser = argparse.ArgumentParser(
        prog="meshproxy request", description="Ask the proxy's admin interface and print what it answers."
    )
    parser.add_argument("--debug-port", "--port", dest="port", type=int, default=15000, help="default: 15000")
    parser.add_argument("method", choices=("GET", "POST"))
    parser.add_argument("path")
    options = parser.parse_args(list(arguments))
    if options.port not in _REACHABLE:
        parser.error(f"--port: {options.port} is none of {', '.join(map(str, sorted(_REACHABLE)))}")

    from meshproxy.agent.http import HttpError, fetch

    try:
        asking = fetch("127.0.0.1", options.port, "/" + options.path.lstrip("/"), method=options.method, timeout=60.0)
        reply = asyncio.run(asking)
    except HttpError as error:
        _say(f"meshproxy request: {error}")
        return EXIT_FAILED
    sys.stdout.buffer.write(reply.body)
    sys.stdout.buffer.flush()
    if reply.status >= 400:
        _say(f"meshproxy request: status {reply.status}")
        return EXIT_FAILED
    return EXIT_OK


COMMANDS = {"agent": run_agent_command, "wait": run_wait_command, "request": run_request_command}
