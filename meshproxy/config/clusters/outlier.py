"""Outlier detection of a cluster (envoy.config.cluster.v3.OutlierDetection)."""

from __future__ import annotations

from dataclasses import fields

from meshproxy.model.outlier import OutlierDetection
from meshproxy.plugin.view import ConfigView

_TIMES = ("interval", "base_ejection_time", "max_ejection_time", "max_ejection_time_jitter")


def compile_outlier_detection(view: ConfigView | None) -> OutlierDetection | None:
    """None without a configuration. Raises ConfigError."""
    if view is None:
        return None
    values: dict[str, object] = {}
    for field in fields(OutlierDetection):
        name = field.name
        if name in _TIMES:
            given = view.duration(name)
            if given is not None:
                values[name] = given
        elif isinstance(field.default, bool):
            values[name] = view.boolean(name, field.default)
        else:
            assert isinstance(field.default, int)
            values[name] = view.integer(name, field.default)
    made = OutlierDetection(**values)  # type: ignore[arg-type]  # each value was read as its field's type
    if made.max_ejection_time is not None and made.max_ejection_time < made.base_ejection_time:
        view.fail("outlier detector's max_ejection_time cannot be smaller than base_ejection_time", "max_ejection_time")
    return made
