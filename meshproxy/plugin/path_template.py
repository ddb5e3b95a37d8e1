"""URI templates as routes and permissions have them: an extension whose only kind is `UriTemplateMatchConfig`."""

from __future__ import annotations

from meshproxy.plugin.view import ConfigView
from meshproxy.uri_template import Template, compile_template

_TEMPLATE = "envoy.extensions.path.match.uri_template.v3.UriTemplateMatchConfig"


def read_path_template(view: ConfigView) -> Template:
    """A `TypedExtensionConfig`. Raises ConfigError."""
    view.text("name")  # a label; the policy is found by the type of its configuration, as in Envoy
    typed = view.any("typed_config")
    if typed is None or typed.full_name != _TEMPLATE or typed.view is None:
        view.fail(f"the only policy that there is, also in Envoy, is {_TEMPLATE}")
    try:
        return compile_template(typed.view.text("path_template"))
    except ValueError as error:
        typed.view.fail(str(error), "path_template")
