from typing import Any

import pytest

from meshproxy.errors import ConfigError
from meshproxy.plugin.entry_points import EntryPoint
from meshproxy.plugin.http import HttpFilter
from meshproxy.plugin.network import NetworkFilter
from meshproxy.plugin.registry import FilterRegistry, UnknownFilter, kind_of


class Gate(HttpFilter[Any]): ...


class Tap(NetworkFilter[Any]): ...


def test_a_class_is_found_by_its_name() -> None:
    registry = FilterRegistry.of(Gate, name="acme.Gate")
    assert registry.find("acme.Gate", "HTTP") is Gate
    assert registry.names == ("acme.Gate",)
    assert FilterRegistry.of(Gate, Tap).names == ("Gate", "Tap")


def test_a_filter_has_its_place() -> None:
    registry = FilterRegistry.of(Gate, Tap)
    assert (kind_of(Gate), kind_of(Tap)) == ("HTTP", "network")
    with pytest.raises(UnknownFilter, match="'Gate' is a HTTP filter and can't stand among listener filters"):
        registry.find("Gate", "listener")


def test_filters_of_two_kinds_may_have_one_message() -> None:
    entries = [
        ("network/one", EntryPoint("network/one", f"{__name__}:Tap")),
        ("one", EntryPoint("one", f"{__name__}:Gate")),
    ]
    for kinds in (("network", "HTTP"), ("HTTP", "network")):
        registry = FilterRegistry(entries)
        found = {kind: registry.find("one", kind) for kind in (*kinds, *kinds)}
        assert {kind: filter_class.__name__ for kind, filter_class in found.items()} == {
            "network": "Tap",
            "HTTP": "Gate",
        }


def test_two_classes_under_one_name_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'x' is installed twice: .*Gate and .*Tap"):
        FilterRegistry([("x", Gate), ("x", Tap)])
    assert FilterRegistry([("x", Gate), ("x", Gate)]).names == ("x",)


def test_an_unknown_name_gets_the_nearest_known_one() -> None:
    with pytest.raises(UnknownFilter, match=r"did you mean 'acme\.Gate'"):
        FilterRegistry.of(Gate, name="acme.Gate").find("acme.Gaet", "HTTP")


@pytest.mark.parametrize(
    "name", ["envoy.extensions.filters.http.lua.v3.Lua", "envoy.extensions.filters.http.wasm.v3.Wasm"]
)
def test_scripts_are_answered_with_python(name: str) -> None:
    with pytest.raises(UnknownFilter, match="write the filter as a Python class"):
        FilterRegistry().find(name, "HTTP")


def test_a_class_is_imported_when_it_is_asked_for() -> None:
    entries = [
        ("good", EntryPoint("good", f"{__name__}:Gate")),
        ("missing", EntryPoint("missing", "no_such_module:Gate")),
        ("other", EntryPoint("other", "fractions:Fraction")),
    ]
    registry = FilterRegistry(entries)
    with pytest.raises(
        UnknownFilter, match=r"'missing' \(no_such_module:Gate\) can't be imported: ModuleNotFoundError"
    ):
        registry.find("missing", "HTTP")
    with pytest.raises(UnknownFilter, match="is no HttpFilter, NetworkFilter or ListenerFilter"):
        registry.find("other", "HTTP")
    assert issubclass(registry.find("good", "HTTP"), HttpFilter)


def test_with_classes_leaves_the_first_registry_alone() -> None:
    first = FilterRegistry.of(Gate)
    second = first.with_classes({"t": Tap})
    assert (first.names, second.names) == (("Gate",), ("Gate", "t"))
