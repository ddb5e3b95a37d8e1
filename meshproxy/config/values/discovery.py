"""Sources of resources (envoy.config.core.v3.ConfigSource)."""

from __future__ import annotations

import os

from meshproxy.config.values.api_source import compile_api_config_source
from meshproxy.config.values.context import CompileContext
from meshproxy.model.discovery import ConfigSource
from meshproxy.plugin.view import ConfigView

_FETCH_TIMEOUT = 15.0


def compile_config_source(view: ConfigView, context: CompileContext) -> ConfigSource:
    """One source. Raises ConfigError. A file must exist, as in Envoy; it may be empty of what is asked for."""
    which = view.which("config_source_specifier")
    version = view.enum("resource_api_version")
    if version == "V2":
        view.fail("version 2 of the API is gone: V3", "resource_api_version")
    timeout = view.seconds("initial_fetch_timeout", _FETCH_TIMEOUT)
    for problem in view.unsupported("authorities"):
        context.problems.append(problem)
    path = watched = ""
    if which == "path_config_source":
        files = view.required(which)
        path = files.text("path")
        directory = files.view("watched_directory")
        watched = directory.text("path") if directory is not None else ""
    elif which == "path":
        path = view.text("path")
    elif which == "ads":
        view.required("ads")
        if not context.has_ads:
            view.fail("'ads' needs dynamic_resources.ads_config in the bootstrap", "ads")
        return ConfigSource("ads", initial_fetch_timeout=timeout)
    elif which == "api_config_source":
        api = compile_api_config_source(view.required(which), context)
        return ConfigSource("api", api=api, initial_fetch_timeout=timeout)
    else:
        view.fail(f"resources from '{which}' aren't supported by meshproxy yet" if which else "no source", which or "")
    if not os.path.exists(path):
        view.fail(f"paths must refer to an existing path in the system: '{path}' does not exist", which)
    if watched and not os.path.isdir(watched):
        view.fail(f"the watched directory '{watched}' does not exist", which)
    return ConfigSource("path", path, watched, initial_fetch_timeout=timeout)
