"""`original_ip_detection_extensions` of the connection manager (envoy.extensions.http.original_ip_detection)."""

from __future__ import annotations

from meshproxy.config.values.addresses import compile_range_set
from meshproxy.headers import check_name
from meshproxy.model.client_detection import ClientDetection, HeaderDetection, XffDetection
from meshproxy.plugin.view import ConfigView

_XFF = "envoy.extensions.http.original_ip_detection.xff.v3.XffConfig"
_HEADER = "envoy.extensions.http.original_ip_detection.custom_header.v3.CustomHeaderConfig"
_FIELD = "original_ip_detection_extensions"


def compile_client_detection(view: ConfigView) -> tuple[ClientDetection, ...]:
    """The extensions of a connection manager, in order. Raises ConfigError."""
    entries = view.views(_FIELD)
    for other in ("use_remote_address", "xff_num_trusted_hops") if entries else ():
        if view.boolean(other) if other == "use_remote_address" else view.integer(other):
            view.fail(f"Original IP detection extensions and {other} may not be mixed", _FIELD)
    return tuple(_compile_extension(entry) for entry in entries)


def _compile_extension(view: ConfigView) -> ClientDetection:
    view.text("name")  # a label; the extension is found by the type of its configuration, as in Envoy
    typed = view.any("typed_config")
    if typed is not None and typed.view is not None:
        if typed.full_name == _XFF:
            return _compile_xff(typed.view)
        if typed.full_name == _HEADER:
            return _compile_header(typed.view)
    view.fail(f"the extensions of meshproxy are those of Envoy, not '{typed.full_name if typed is not None else ''}'")


def _compile_xff(view: ConfigView) -> XffDetection:
    hops = view.integer("xff_num_trusted_hops")
    trusted = view.view("xff_trusted_cidrs")
    if hops and trusted is not None:
        view.fail("Cannot set both xff_num_trusted_hops and xff_trusted_cidrs", "xff_trusted_cidrs")
    return XffDetection(
        hops,
        compile_range_set(trusted, "cidrs") if trusted is not None else None,
        appends=not view.boolean("skip_xff_append", True),
    )


def _compile_header(view: ConfigView) -> HeaderDetection:
    try:
        name = check_name(view.text("header_name"))
    except ValueError as error:
        view.fail(str(error), "header_name")
    reject = view.view("reject_with_status")
    status = int(reject.raw().code) if reject is not None else 0  # type: ignore[attr-defined]  # a generated message
    return HeaderDetection(
        name,
        trusted=view.boolean("allow_extension_to_set_address_as_trusted"),
        # As Envoy: what isn't the status of an error becomes 403.
        reject=(status if 400 <= status <= 511 else 403) if reject is not None else None,
    )
