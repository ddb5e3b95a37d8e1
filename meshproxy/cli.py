"""The command line: `meshproxy -c envoy.yaml`."""

from __future__ import annotations

import argparse
import sys

from meshproxy.config.bootstrap_load import Source, read_source
from meshproxy.errors import ConfigError
from meshproxy.proxy import load_configuration


def main(argv: list[str] | None = None) -> int:
    """Run the program; the exit code is 0, 1 for a bad configuration, 2 for bad usage, 3 for a port it can't have."""
    parser = argparse.ArgumentParser(prog="meshproxy", description="The sidecar of a service mesh.")
    parser.add_argument("-c", "--config-path")
    parser.add_argument("--config-yaml")
    parser.add_argument("--mode", choices=["serve", "validate"], default="serve")
    parser.add_argument("--file-flush-interval-msec", type=int, default=10000)
    options, _ = parser.parse_known_args(argv)
    sources = []
    try:
        if options.config_path:
            sources.append(read_source(options.config_path))
        if options.config_yaml:
            sources.append(Source("--config-yaml", options.config_yaml))
        configuration = load_configuration(sources)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    if options.mode == "validate":
        print(f"configuration '{options.config_path}' OK")  # noqa: T201
        return 0
    import uvloop

    from meshproxy.proxy import BindError, serve
    from meshproxy.runtime.options import Options

    try:
        uvloop.run(
            serve(
                configuration,
                Options(config_path=options.config_path, file_flush_interval=options.file_flush_interval_msec / 1000),
            )
        )
    except BindError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
