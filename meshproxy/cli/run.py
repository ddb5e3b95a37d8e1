"""From options to a running program: the log, the configuration, the loop, and the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from meshproxy.cli.problems import render_problems
from meshproxy.config.text.bootstrap_load import Source, read_source
from meshproxy.errors import ConfigError
from meshproxy.model.snapshot import Node
from meshproxy.proxy import BindError, Configuration, hold_collector, load_configuration, make_logger
from meshproxy.runtime.process.hot_restart import HotRestartError
from meshproxy.runtime.process.open_files import raise_limit
from meshproxy.runtime.process.options import Options
from meshproxy.runtime.process.program_log import PROGRAM_LOG

EXIT_OK, EXIT_CONFIG, EXIT_USAGE, EXIT_BIND, EXIT_HOT_RESTART = range(5)


def run(options: Options) -> int:
    """Do what the options say; returns the exit code."""
    hold_collector()
    try:
        PROGRAM_LOG.configure(
            level=options.log_level,
            component_levels=options.component_log_level,
            line_format=_log_format(options),
            path=options.log_path,
        )
    except KeyError as error:
        return _fail(f"--component-log-level: there is no component {error}", EXIT_USAGE)
    except ValueError as error:
        return _fail(f"--component-log-level: {error}", EXIT_USAGE)
    except OSError as error:
        return _fail(f"--log-path: {options.log_path}: {error.strerror}", EXIT_BIND)
    sources: list[Source] = []
    try:
        configuration = _load(options, sources)
    except ConfigError as error:
        _print_problems(error, sources)
        return EXIT_CONFIG
    _warn(configuration, options)
    if options.mode == "validate":
        sys.stdout.write(f"configuration '{options.config_path}' OK\n")
        return EXIT_OK
    try:
        configuration = configuration.without_places()
        return _serve(configuration, options)
    except BindError as error:
        return _fail(str(error), EXIT_BIND)
    except HotRestartError as error:
        return _fail(str(error), EXIT_HOT_RESTART)


def _load(options: Options, sources: list[Source]) -> Configuration:
    """Read and compile what the options name. What was read is added to `sources`. Raises ConfigError."""
    if options.config_path:
        sources.append(read_source(options.config_path))
    if options.config_yaml:
        sources.append(Source("--config-yaml", options.config_yaml))
    return load_configuration(
        sources,
        node=Node(id=options.service_node, cluster=options.service_cluster, zone=options.service_zone),
        allow_unknown_fields=options.allow_unknown_static_fields,
        disabled_extensions=options.disabled_extensions,
    )


def _serve(configuration: Configuration, options: Options) -> int:
    raise_limit()
    if options.concurrency > 1:
        from meshproxy.proxy.fleet import serve_fleet

        return serve_fleet(configuration, options, lambda: _load(options, []))
    import uvloop

    from meshproxy.proxy.single import serve

    uvloop.run(serve(configuration, options, lambda: _load(options, [])))
    return EXIT_OK


def _log_format(options: Options) -> str:
    return options.log_format.replace("%v", "%_") if options.log_format_escaped else options.log_format


def _warn(configuration: Configuration, options: Options) -> None:
    log = make_logger("config")
    for problem in configuration.warnings:
        if not (options.skip_deprecated_logs and "deprecated" in problem.message):
            log.warning(str(problem))
    if options.ignored:
        make_logger("main").warning("these flags have no effect", flags=" ".join(options.ignored))


def _print_problems(error: ConfigError, sources: Sequence[Source]) -> None:
    color = sys.stderr.isatty() and "NO_COLOR" not in os.environ
    texts = {source.name: source.text for source in sources}
    sys.stderr.write(render_problems(error.problems, texts, color=color))


def _fail(message: str, code: int) -> int:
    sys.stderr.write(f"meshproxy: {message}\n")
    return code
