"""The flags: Envoy's, all of them, so that a command line written for Envoy works unchanged.

Each may also come from the environment, as `MESHPROXY_` and its name in capitals (`MESHPROXY_LOG_LEVEL`); the command
line wins. A flag that has no meaning here is accepted, and said so once in the log.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from meshproxy.runtime.process.options import Options

_LEVELS = ("trace", "debug", "info", "warning", "warn", "error", "critical", "off")
_TRUE = frozenset(("1", "true", "yes", "on"))
_FALSE = frozenset(("0", "false", "no", "off", ""))

_EPILOG = """\
commands:   meshproxy agent    start the proxy in a pod, and stand by it
            meshproxy wait     until the proxy of this pod is ready
            meshproxy request  ask its admin interface
            meshproxy certs    make certificates to try things with
            each with --help

every flag can be given as an environment variable too: MESHPROXY_<FLAG>, such as
MESHPROXY_LOG_LEVEL=debug; the command line wins.

exit codes: 0 ended as asked, 1 bad configuration, 2 bad command line,
            3 an address or privilege that can't be had, 4 nobody to take over from

signals:    SIGTERM, SIGINT  drain for at most --drain-time-s, then exit; a second one exits now
            SIGUSR1          reopen the log files
"""


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 10:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(text)


def _mode(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is no file mode") from None


def _stats_tag(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.isascii() or not name.replace("_", "").isalnum() or "." in value:
        raise argparse.ArgumentTypeError(f"'{text}' is not <tag>:<value> (letters and digits; no '.' in the value)")
    return name, value


class _Flags:
    """Adds flags to a parser and remembers which have no meaning here."""

    def __init__(self, parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> None:
        self._parser = parser
        self._group: Any = parser
        self._environ = environ
        self.idle: list[str] = []

    def group(self, title: str) -> None:
        self._group = self._parser.add_argument_group(title)

    def value(self, *names: str, **settings: Any) -> None:
        """A flag with a value."""
        long = next(name for name in names if name.startswith("--"))
        given = self._environ.get(_variable(long))
        if given is not None:
            settings["default"] = [given] if settings.get("action") == "append" else given
            if settings.get("action") == "append" and "type" in settings:
                settings["default"] = [settings["type"](part) for part in given.split(",")]
            choices = settings.get("choices")
            if choices is not None and given not in choices:
                self._parser.error(f"{_variable(long)}: '{given}' is none of {', '.join(choices)}")
        self._group.add_argument(*names, **settings)

    def switch(self, name: str, help_text: str) -> None:
        """A flag without one."""
        given = self._environ.get(_variable(name), "").lower()
        if given not in _TRUE | _FALSE:
            self._parser.error(f"{_variable(name)}: '{given}' is neither true nor false")
        self._group.add_argument(name, action="store_true", default=given in _TRUE, help=help_text)

    def no_effect(self, name: str, help_text: str, **settings: Any) -> None:
        """A flag that is accepted and does nothing."""
        self.idle.append(name)
        if settings:
            self.value(name, help=f"{help_text} (no effect)", **settings)
        else:
            self.switch(name, f"{help_text} (no effect)")


def _variable(flag: str) -> str:
    return "MESHPROXY_" + flag.lstrip("-").upper().replace("-", "_")


def _destination(flag: str) -> str:
    return flag.lstrip("-").replace("-", "_")


class _Help(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal: for which argparse would import `shutil`, at the first flag and help or no help."""

    def __init__(self, prog: str) -> None:
        try:
            columns = os.get_terminal_size().columns
        except OSError:
            columns = 80
        super().__init__(prog, width=columns - 2)


class _Parser(argparse.ArgumentParser):
    """Says of a fault what it is, and of the flags, of which there are forty, only how to see them."""

    def error(self, message: str) -> NoReturn:
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown != message:
            from meshproxy.suggest import did_you_mean

            first = unknown.split()[0].partition("=")[0]
            message = f"there is no flag '{first}'" if first.startswith("-") else f"'{first}' belongs to no flag"
            message += did_you_mean(first, (flag for flag in self._option_string_actions if flag.startswith("--")))
        self.exit(2, f"usage: {self.prog} -c FILE [flags]\n{self.prog}: error: {message}\nsee {self.prog} --help\n")


def build_parser(environ: Mapping[str, str]) -> tuple[argparse.ArgumentParser, list[str]]:
    """The parser, and the flags without effect."""
    parser = _Parser(
        prog="meshproxy",
        description="The sidecar of a service mesh, configured as Envoy is.",
        epilog=_EPILOG,
        formatter_class=_Help,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    flags = _Flags(parser, environ)
    _add_configuration(flags)
    _add_identity(flags)
    _add_running(flags)
    _add_logging(flags)
    _add_hot_restart(flags)
    return parser, flags.idle


def _add_configuration(flags: _Flags) -> None:
    flags.group("configuration")
    flags.value("-c", "--config-path", default="", metavar="FILE", help="the bootstrap: YAML (.yaml, .yml) or JSON")
    flags.value("--config-yaml", default="", metavar="TEXT", help="more bootstrap as YAML, merged over --config-path")
    flags.value("--mode", choices=("serve", "validate"), default="serve", help="serve, or only check the configuration")
    flags.switch("--allow-unknown-fields", "the same as --allow-unknown-static-fields")
    flags.switch("--allow-unknown-static-fields", "warn of unknown fields instead of refusing them")
    flags.switch("--reject-unknown-dynamic-fields", "refuse unknown fields in what a control plane sends")
    flags.switch("--ignore-unknown-dynamic-fields", "don't even warn of them")
    flags.switch("--skip-deprecated-logs", "don't warn of deprecated fields")
    flags.value(
        "--disable-extensions", default="", metavar="NAMES", help="filters that mustn't be used, separated by commas"
    )
    flags.value(
        "--stats-tag", action="append", default=[], type=_stats_tag, metavar="TAG:VALUE",
        help="a tag that every statistic gets; may be repeated",
    )  # fmt: skip


def _add_identity(flags: _Flags) -> None:
    flags.group("identity")
    flags.value("--service-node", default="", metavar="ID", help="node.id, unless the bootstrap has one")
    flags.value("--service-cluster", default="", metavar="NAME", help="node.cluster, unless the bootstrap has one")
    flags.value("--service-zone", default="", metavar="ZONE", help="node.locality.zone, unless the bootstrap has one")
    flags.no_effect(
        "--local-address-ip-version", "family of this machine's own address", choices=("v4", "v6"), default="v4"
    )


def _add_running(flags: _Flags) -> None:
    flags.group("running")
    flags.value(
        "--concurrency", type=_number, default=1, metavar="N",
        help="worker processes, 1 unless given; 0: as many as the CPU quota or affinity allows",
    )  # fmt: skip
    flags.value("--admin-address-path", default="", metavar="FILE", help="write the admin interface's address there")
    flags.value("--drain-time-s", type=_number, default=600, metavar="S", help="longest drain, 600 unless given")
    flags.value(
        "--drain-strategy", choices=("gradual", "immediate"), default="gradual",
        help="whether a graceful drain of listeners announces itself more and more often, or at once",
    )  # fmt: skip
    flags.value(
        "--file-flush-interval-msec", type=_number, default=10000, metavar="MS",
        help="how long access-log lines may wait, 10000 unless given",
    )  # fmt: skip
    flags.value(
        "--file-flush-min-size-kb", type=_number, default=64, metavar="KB",
        help="how much of them may wait, 64 unless given",
    )  # fmt: skip
    flags.no_effect("--cpuset-threads", "take the number of workers from the cpuset; --concurrency 0 does that")
    flags.no_effect("--enable-mutex-tracing", "there are no mutexes")
    flags.no_effect("--enable-core-dump", "the system decides")


def _add_logging(flags: _Flags) -> None:
    flags.group("log")
    flags.value("-l", "--log-level", choices=_LEVELS, default="info", help="of the program's own log")
    flags.value(
        "--component-log-level", default="", metavar="LIST", help="levels by component: upstream:debug,http:info"
    )
    flags.value("--log-format", default="", metavar="FORMAT", help="'json', or a pattern as Envoy takes it")
    flags.switch("--log-format-escaped", "write line ends in messages as \\n")
    flags.value("--log-path", default="", metavar="FILE", help="where to, instead of standard error")
    flags.no_effect("--enable-fine-grain-logging", "levels by source file")
    flags.no_effect("--log-stacktrace-single-entry", "a traceback is one entry anyway")


def _add_hot_restart(flags: _Flags) -> None:
    flags.group("hot restart")
    flags.value(
        "--restart-epoch", type=_number, default=0, metavar="N",
        help="take over from the running process of epoch N-1, 0 unless given",
    )  # fmt: skip
    flags.value(
        "--base-id", type=_number, default=0, metavar="N",
        help="which processes belong together, 0 unless given; one number for each on a host",
    )  # fmt: skip
    flags.value(
        "--parent-shutdown-time-s", type=_number, default=900, metavar="S",
        help="when the old process is ended at the latest, 900 unless given",
    )  # fmt: skip
    flags.switch("--disable-hot-restart", "neither take over nor be taken over from")
    flags.switch("--skip-hot-restart-on-no-parent", "begin anew if there is nobody to take over from")
    flags.value("--socket-path", default="@envoy_domain_socket", metavar="PATH", help="how the sockets' names begin")
    flags.value("--socket-mode", type=_mode, default=0o600, metavar="MODE", help="of sockets that are files")
    flags.switch("--hot-restart-version", "print it and exit")
    flags.switch("--use-dynamic-base-id", "choose a base id that nobody has")
    flags.value("--base-id-path", default="", metavar="FILE", help="write the base id there")
    flags.no_effect("--skip-hot-restart-parent-stats", "statistics begin anew in any case")


def parse_flags(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> Options:
    """The options of a command line and an environment.

    Raises SystemExit: with 2 for bad usage, with 0 once `--help` or `--version` has been answered.
    """
    parser, idle = build_parser(environ)
    given = parser.parse_args(list(argv))
    if given.version:
        from meshproxy.runtime.version import full_version

        print(f"meshproxy  version: {full_version()}")  # noqa: T201  # what was asked for
        raise SystemExit(0)
    if given.hot_restart_version:
        from meshproxy.runtime.version import hot_restart_version

        print(hot_restart_version(given.disable_hot_restart))  # noqa: T201  # what was asked for
        raise SystemExit(0)
    if not given.config_path and not given.config_yaml:
        parser.error("at least one of --config-path or --config-yaml is needed")
    if given.use_dynamic_base_id and given.restart_epoch:
        parser.error("--restart-epoch: with --use-dynamic-base-id there is nobody to take over from")
    if given.reject_unknown_dynamic_fields and given.ignore_unknown_dynamic_fields:
        parser.error("--reject-unknown-dynamic-fields and --ignore-unknown-dynamic-fields exclude each other")
    names = [name for name, _ in given.stats_tag]
    if len(set(names)) != len(names):
        parser.error("--stats-tag: a tag stands twice")
    concurrency, reason = given.concurrency, "--concurrency"
    if concurrency == 0:
        from meshproxy.cli.concurrency import derive_concurrency

        concurrency, reason = derive_concurrency()
    ignored = tuple(
        name for name in idle if getattr(given, _destination(name)) != parser.get_default(_destination(name))
    )
    return _options(given, concurrency, reason, ignored)


def _options(given: argparse.Namespace, concurrency: int, reason: str, ignored: tuple[str, ...]) -> Options:
    return Options(
        config_path=given.config_path,
        config_yaml=given.config_yaml,
        mode=given.mode,
        concurrency=concurrency,
        concurrency_reason=reason,
        admin_address_path=given.admin_address_path,
        service_node=given.service_node,
        service_cluster=given.service_cluster,
        service_zone=given.service_zone,
        local_address_ip_version=given.local_address_ip_version,
        log_level="warning" if given.log_level == "warn" else given.log_level,
        component_log_level=given.component_log_level,
        log_format=given.log_format,
        log_format_escaped=given.log_format_escaped,
        log_path=given.log_path,
        enable_fine_grain_logging=given.enable_fine_grain_logging,
        drain_time=float(given.drain_time_s),
        drain_strategy=given.drain_strategy,
        parent_shutdown_time=float(given.parent_shutdown_time_s),
        file_flush_interval=given.file_flush_interval_msec / 1000,
        file_flush_min_size=given.file_flush_min_size_kb * 1024,
        allow_unknown_static_fields=given.allow_unknown_fields or given.allow_unknown_static_fields,
        reject_unknown_dynamic_fields=given.reject_unknown_dynamic_fields,
        ignore_unknown_dynamic_fields=given.ignore_unknown_dynamic_fields,
        skip_deprecated_logs=given.skip_deprecated_logs,
        disabled_extensions=tuple(name.strip() for name in given.disable_extensions.split(",") if name.strip()),
        stats_tags=tuple(given.stats_tag),
        base_id=given.base_id,
        base_id_path=given.base_id_path,
        use_dynamic_base_id=given.use_dynamic_base_id,
        restart_epoch=given.restart_epoch,
        disable_hot_restart=given.disable_hot_restart,
        skip_hot_restart_on_no_parent=given.skip_hot_restart_on_no_parent,
        skip_hot_restart_parent_stats=given.skip_hot_restart_parent_stats,
        socket_path=given.socket_path,
        socket_mode=given.socket_mode,
        cpuset_threads=given.cpuset_threads,
        enable_mutex_tracing=given.enable_mutex_tracing,
        enable_core_dump=given.enable_core_dump,
        log_stacktrace_single_entry=given.log_stacktrace_single_entry,
        ignored=ignored,
    )
