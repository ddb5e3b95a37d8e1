"""Resources that come by themselves, again and again."""

from __future__ import annotations

import pytest

from meshproxy.config.bootstrap.resources import assignment_of, listener_in_steps
from meshproxy.errors import ConfigError
from meshproxy.model.discovery import Resource
from meshproxy.telemetry.stats import StatsStore
from tests.discovery.resources import endpoints, listener
from tests.unit.config_compile.compiling import make_context


def test_update_of_endpoints_leaves_nothing_behind() -> None:
    store = StatsStore()
    own = make_context()
    own.stats = root = store.scope("")
    for number in range(3):
        resource = Resource("c", f"v{number}", endpoints("c", 80 + number))
        assert len(assignment_of(resource, own).endpoints) == 1
    assert not root._children


def test_a_listener_takes_a_step_for_each_chain_and_one_that_fails_leaves_no_statistics() -> None:
    store = StatsStore()
    own = make_context()
    own.stats = root = store.scope("")
    own.has_ads = True
    message = listener("a", 80, "r")
    for port in range(3):
        message.filter_chains.add().CopyFrom(message.filter_chains[0])
        message.filter_chains[-1].filter_chain_match.destination_port.value = port + 1
    steps = listener_in_steps(Resource("a", "v", message), own, lambda files: None)
    assert len(list(steps)) >= len(message.filter_chains)
    assert root._children
    root.close()
    message.filter_chains[-1].filters.add(name="unknown").typed_config.type_url = "type.googleapis.com/example.Nothing"
    with pytest.raises(ConfigError, match="Nothing"):
        list(listener_in_steps(Resource("a", "v", message), own, lambda files: None))
    assert not root._children
