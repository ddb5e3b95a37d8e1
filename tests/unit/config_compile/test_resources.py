"""Resources that come by themselves, again and again."""

from __future__ import annotations

from meshproxy.config.bootstrap.resources import assignment_of
from meshproxy.model.discovery import Resource
from meshproxy.telemetry.stats import StatsStore
from tests.discovery.resources import endpoints
from tests.unit.config_compile.compiling import make_context


def test_update_of_endpoints_leaves_nothing_behind() -> None:
    store = StatsStore()
    own = make_context()
    own.stats = root = store.scope("")
    for number in range(3):
        resource = Resource("c", f"v{number}", endpoints("c", 80 + number))
        assert len(assignment_of(resource, own).endpoints) == 1
    assert not root._children
